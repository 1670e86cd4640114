//! The configuration as it is written: every key, with its default.
use super::{
    ShopConfig,
    units::{Names, Size, Span},
};
use crate::runtime::Keep;
use corduroy_log::config::{Limits, Timing};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Every key a configuration file may have. `nodes` is a list of tables with the keys of [`NodeEntry`]. Keys that have
/// no flag are also read from the environment: `limits.record` is `CORDUROY_LIMITS_RECORD`.
pub const KEYS: &[&str] = &[
    "cluster_id",
    "node_id",
    "data",
    "insecure_dev",
    "services",
    "shutdown_timeout",
    "listen.http",
    "listen.grpc",
    "listen.peer",
    "listen.admin",
    "nodes",
    "nodes.id",
    "nodes.peer",
    "nodes.grpc",
    "nodes.http",
    "nodes.admin",
    "nodes.services",
    "limits.record",
    "limits.batch",
    "limits.in_flight",
    "limits.node_in_flight",
    "limits.segment",
    "limits.commit",
    "limits.hot_tail",
    "limits.hot_tail_total",
    "limits.index_cache",
    "limits.view_cache",
    "limits.checkpoint",
    "limits.state",
    "limits.partitions",
    "limits.keys",
    "limits.reserve",
    "limits.min_free_percent",
    "timing.heartbeat",
    "timing.election_min",
    "timing.election_max",
    "timing.append_timeout",
    "timing.read_timeout",
    "timing.disk_overdue",
    "timing.disk_stuck",
    "timing.disk_failed",
    "timing.checkpoint_interval",
    "gateway.timeout",
    "saga.timeout",
    "saga.async_timeout",
    "saga.release_wait",
    "order.partitions",
    "order.max_lines",
    "payment.partitions",
    "stock.partitions",
    "delivery.partitions",
    "delivery.capacity_per_day",
    "delivery.lead_days",
    "delivery.horizon_days",
    "voucher.partitions",
    "voucher.strategies",
    "voucher.retry",
    "voucher.valid_for",
    "campaign.partitions",
    "campaign.max_age",
    "activity.partitions",
    "activity.types",
    "account.partitions",
    "idempotency.keep",
    "idempotency.quota",
    "subscription.order.max_age",
    "subscription.payment.max_age",
    "subscription.stock.max_age",
    "subscription.delivery.max_age",
    "subscription.voucher.max_age",
    "subscription.activity.max_age",
    "subscription.account.max_age",
];

/// The tables of services, in the order of [`KEYS`].
pub(crate) const SERVICE_TABLES: [&str; 18] = [
    "gateway",
    "saga",
    "order",
    "payment",
    "stock",
    "delivery",
    "voucher",
    "campaign",
    "activity",
    "account",
    "idempotency",
    "subscription.order",
    "subscription.payment",
    "subscription.stock",
    "subscription.delivery",
    "subscription.voucher",
    "subscription.activity",
    "subscription.account",
];

/// The keys that come from the environment because they have no flag (flags have twins of their own).
pub(super) fn environment_keys() -> impl Iterator<Item = &'static str> {
    let tables = ["limits", "timing"].into_iter().chain(SERVICE_TABLES);
    let tables: Vec<String> = tables.map(|table| format!("{table}.")).collect();
    KEYS.iter()
        .copied()
        .filter(move |key| *key == "shutdown_timeout" || tables.iter().any(|table| key.starts_with(table)))
}

/// What flags may set. `None`: not given.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flags {
    /// `--cluster-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// `--id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<u64>,
    /// `--data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// `--insecure-dev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_dev: Option<bool>,
    /// `--services`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// `--http`, `--grpc`, `--peer`, `--admin`.
    pub listen: ListenSettings,
    /// `--peers`; replaces the list of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<NodeEntry>>,
}

/// Where to listen, as written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenSettings {
    /// HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// gRPC for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Other nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// gRPC for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

/// A node of the cluster, as written in `[[nodes]]`. Addresses are host:port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its id, from 1.
    pub id: u64,
    /// Where other nodes reach it.
    pub peer: String,
    /// Where clients reach it; may be left out, nodes tell each other.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub grpc: String,
    /// HTTP; may be left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub http: String,
    /// Where operators reach it; may be left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub admin: String,
    /// What it carries; left out: what `services` says, or everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
}

/// All keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    pub cluster_id: String,
    pub node_id: u64,
    pub data: PathBuf,
    pub insecure_dev: bool,
    pub services: Vec<String>,
    pub shutdown_timeout: Span,
    pub listen: ListenSettings,
    pub nodes: Vec<NodeEntry>,
    pub limits: LimitSettings,
    pub timing: TimingSettings,
    pub gateway: GatewaySettings,
    pub saga: SagaSettings,
    pub order: OrderSettings,
    pub payment: PartitionSettings,
    pub stock: PartitionSettings,
    pub delivery: DeliverySettings,
    pub voucher: VoucherSettings,
    pub campaign: CampaignSettings,
    pub activity: ActivitySettings,
    pub account: PartitionSettings,
    pub idempotency: IdempotencySettings,
    pub subscription: SubscriptionSettings,
}

/// `[limits]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LimitSettings {
    pub record: Size,
    pub batch: Size,
    pub in_flight: Size,
    pub node_in_flight: Size,
    pub segment: Size,
    pub commit: Size,
    pub hot_tail: Size,
    pub hot_tail_total: Size,
    pub index_cache: Size,
    pub view_cache: Size,
    pub checkpoint: Size,
    pub state: Size,
    pub partitions: u32,
    pub keys: u64,
    pub reserve: Size,
    pub min_free_percent: u32,
}

/// `[timing]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TimingSettings {
    pub heartbeat: Span,
    pub election_min: Span,
    pub election_max: Span,
    pub append_timeout: Span,
    pub read_timeout: Span,
    pub disk_overdue: Span,
    pub disk_stuck: Span,
    pub disk_failed: Span,
    pub checkpoint_interval: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            cluster_id: String::new(),
            node_id: 0,
            data: PathBuf::new(),
            insecure_dev: false,
            services: Vec::new(),
            shutdown_timeout: Span(Duration::from_secs(10)),
            listen: ListenSettings::default(),
            nodes: Vec::new(),
            limits: LimitSettings::default(),
            timing: TimingSettings::default(),
            gateway: GatewaySettings::default(),
            saga: SagaSettings::default(),
            order: OrderSettings::default(),
            payment: PartitionSettings::default(),
            stock: PartitionSettings::default(),
            delivery: DeliverySettings::default(),
            voucher: VoucherSettings::default(),
            campaign: CampaignSettings::default(),
            activity: ActivitySettings::default(),
            account: PartitionSettings::default(),
            idempotency: IdempotencySettings::default(),
            subscription: SubscriptionSettings::default(),
        }
    }
}

/// `[gateway]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct GatewaySettings {
    pub timeout: Span,
}

/// `[saga]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SagaSettings {
    pub timeout: Span,
    pub async_timeout: Span,
    pub release_wait: Span,
}

/// `[order]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OrderSettings {
    pub partitions: u32,
    pub max_lines: u32,
}

/// `[payment]`, `[stock]`, `[account]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PartitionSettings {
    pub partitions: u32,
}

/// `[delivery]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DeliverySettings {
    pub partitions: u32,
    pub capacity_per_day: Option<u32>,
    pub lead_days: u32,
    pub horizon_days: u32,
}

/// `[voucher]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct VoucherSettings {
    pub partitions: u32,
    pub strategies: Names,
    pub retry: Vec<Span>,
    pub valid_for: Option<Span>,
}

/// `[campaign]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CampaignSettings {
    pub partitions: u32,
    pub max_age: Span,
}

/// `[activity]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ActivitySettings {
    pub partitions: u32,
    pub types: Names,
}

/// `[idempotency]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct IdempotencySettings {
    pub keep: Span,
    pub quota: u64,
}

/// `[subscription]`: what each service reads of the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SubscriptionSettings {
    pub order: Subscription,
    pub payment: Subscription,
    pub stock: Subscription,
    pub delivery: Subscription,
    pub voucher: Subscription,
    pub activity: Subscription,
    pub account: Subscription,
}

/// `[subscription.order]` and its like.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Subscription {
    pub max_age: Option<Span>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        GatewaySettings { timeout: Span(ShopConfig::default().gateway_timeout) }
    }
}

impl Default for SagaSettings {
    fn default() -> Self {
        let settings = ShopConfig::default().settings;
        SagaSettings {
            timeout: Span(settings.saga_timeout),
            async_timeout: Span(settings.saga_async_timeout),
            release_wait: Span(settings.saga_release_wait),
        }
    }
}

impl Default for OrderSettings {
    fn default() -> Self {
        let shop = ShopConfig::default();
        OrderSettings { partitions: shop.partitions, max_lines: shop.settings.max_lines as u32 }
    }
}

impl Default for PartitionSettings {
    fn default() -> Self {
        PartitionSettings { partitions: ShopConfig::default().partitions }
    }
}

impl Default for DeliverySettings {
    fn default() -> Self {
        let settings = ShopConfig::default().settings;
        DeliverySettings {
            partitions: 1,
            capacity_per_day: None,
            lead_days: settings.delivery_lead_days as u32,
            horizon_days: settings.delivery_horizon_days as u32,
        }
    }
}

impl Default for VoucherSettings {
    fn default() -> Self {
        let ShopConfig { settings, voucher_partitions, .. } = ShopConfig::default();
        VoucherSettings {
            partitions: voucher_partitions,
            strategies: Names(settings.voucher_strategies),
            retry: settings.voucher_retry.into_iter().map(Span).collect(),
            valid_for: settings.voucher_valid_for.map(Span),
        }
    }
}

impl Default for CampaignSettings {
    fn default() -> Self {
        let shop = ShopConfig::default();
        CampaignSettings { partitions: shop.campaign_partitions, max_age: Span(shop.campaign_max_age) }
    }
}

impl Default for ActivitySettings {
    fn default() -> Self {
        let shop = ShopConfig::default();
        ActivitySettings { partitions: shop.activity_partitions, types: Names(shop.settings.activity_types) }
    }
}

impl Default for IdempotencySettings {
    fn default() -> Self {
        let keep = ShopConfig::default().keep;
        IdempotencySettings { keep: Span(keep.clients), quota: keep.quota }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        let limits = Limits::default();
        LimitSettings {
            record: Size(limits.record_bytes),
            batch: Size(limits.batch_bytes),
            in_flight: Size(limits.in_flight_bytes),
            node_in_flight: Size(limits.node_in_flight_bytes),
            segment: Size(limits.segment_bytes),
            commit: Size(limits.commit_bytes),
            hot_tail: Size(limits.hot_tail_bytes),
            hot_tail_total: Size(limits.hot_tail_total_bytes),
            index_cache: Size(limits.index_cache_bytes),
            view_cache: Size(limits.view_cache_bytes),
            checkpoint: Size(limits.checkpoint_bytes),
            state: Size(Keep::default().changes),
            partitions: limits.partitions,
            keys: limits.keys,
            reserve: Size(limits.reserve_bytes),
            min_free_percent: limits.min_free_percent.into(),
        }
    }
}

impl Default for TimingSettings {
    fn default() -> Self {
        let timing = Timing::default();
        TimingSettings {
            heartbeat: Span(timing.heartbeat),
            election_min: Span(timing.election_min),
            election_max: Span(timing.election_max),
            append_timeout: Span(timing.append_timeout),
            read_timeout: Span(timing.read_timeout),
            disk_overdue: Span(timing.disk.overdue),
            disk_stuck: Span(timing.disk.stuck),
            disk_failed: Span(timing.disk.failed),
            checkpoint_interval: Span(timing.checkpoint_interval),
        }
    }
}
