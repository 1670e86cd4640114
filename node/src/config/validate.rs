//! From what is written to what a node can run with.
use super::{
    ConfigError, Listen, NodeConfig, ShopConfig,
    settings::{LimitSettings, ListenSettings, NodeEntry, Settings, TimingSettings},
    units::{Names, Size, Span},
};
use crate::{
    runtime::Keep,
    services::{activity, voucher::STRATEGIES},
};
use corduroy_log::{
    config::{Config, DiskPatience, Limits, NodeAddress, Timing},
    topic::{ClusterId, check_name},
};
use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

/// First ports: node `i` has the base plus `i`.
const HTTP: u64 = 8000;
const GRPC: u64 = 7000;
const ADMIN: u64 = 7200;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Checks everything. `origin` tells where a key's value came from.
pub(super) fn validate(settings: &Settings, origin: impl Fn(&str) -> String) -> Result<NodeConfig, ConfigError> {
    let check = Check { origin: &origin };
    let cluster = check.cluster(settings)?;
    check.identity(settings)?;
    let limits = check.limits(&settings.limits)?;
    let timing = check.timing(&settings.timing)?;
    check.within("shutdown_timeout", settings.shutdown_timeout, ms(100), ms(600_000))?;
    check.secured(settings)?;
    let listen = check.listen(settings)?;
    let nodes = check.nodes(settings, &listen)?;
    let services = check.services(settings)?;
    let log = Config { services, limits, timing, ..Config::new(&settings.data, cluster, settings.node_id, nodes) };
    let shop = check.shop(settings)?;
    Ok(NodeConfig { log, listen, shutdown_timeout: settings.shutdown_timeout.0, shop })
}

fn ms(millis: u64) -> Span {
    Span(Duration::from_millis(millis))
}

struct Check<'a> {
    origin: &'a dyn Fn(&str) -> String,
}

impl Check<'_> {
    fn wrong(&self, key: &str, value: impl Display, problem: impl Into<String>) -> ConfigError {
        // A list has one origin; its elements have none of their own.
        let top = key.split('[').next().unwrap_or(key);
        ConfigError::Value {
            key: key.into(),
            value: value.to_string(),
            origin: (self.origin)(top),
            problem: problem.into(),
        }
    }

    fn within<T: PartialOrd + Display>(&self, key: &str, value: T, min: T, max: T) -> Result<(), ConfigError> {
        if value < min || value > max {
            return Err(self.wrong(key, value, format!("must be from {min} to {max}")));
        }
        Ok(())
    }

    fn cluster(&self, settings: &Settings) -> Result<ClusterId, ConfigError> {
        let text = &settings.cluster_id;
        if text.is_empty() {
            return Err(ConfigError::Missing(
                "the cluster has no identity: give --cluster-id (a UUID, equal on all nodes) or cluster_id in the \
                 configuration file"
                    .into(),
            ));
        }
        text.parse().map_err(|_| self.wrong("cluster_id", format!("{text:?}"), "is not a UUID"))
    }

    fn identity(&self, settings: &Settings) -> Result<(), ConfigError> {
        if settings.node_id == 0 {
            return Err(ConfigError::Missing(
                "which node is this? Give --id (from 1) or node_id in the configuration file".into(),
            ));
        }
        self.within("node_id", settings.node_id, 1, 9_999)?;
        if settings.data.as_os_str().is_empty() {
            return Err(ConfigError::Missing(
                "where is the data to be kept? Give --data or data in the configuration file".into(),
            ));
        }
        if settings.nodes.is_empty() {
            return Err(ConfigError::Missing(
                "which nodes are the cluster? Give --peers \"1=127.0.0.1:7101,2=127.0.0.1:7102,...\" or [[nodes]] in the \
                 configuration file"
                    .into(),
            ));
        }
        let mut ids: Vec<u64> = settings.nodes.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(self.wrong("nodes", twice[0], "this id is there twice"));
        }
        if !ids.contains(&settings.node_id) {
            return Err(self.wrong("node_id", settings.node_id, format!("is not one of the cluster's nodes {ids:?}")));
        }
        if ids[0] == 0 {
            return Err(self.wrong("nodes", 0, "node ids begin at 1"));
        }
        Ok(())
    }

    /// The services this node carries; they are named like topics.
    fn services(&self, settings: &Settings) -> Result<Vec<String>, ConfigError> {
        let own = settings.nodes.iter().find(|node| node.id == settings.node_id);
        let listed = own.and_then(|own| own.services.clone()).unwrap_or_default();
        let mut services = if settings.services.is_empty() { listed } else { settings.services.clone() };
        services.sort();
        services.dedup();
        for service in &services {
            check_name(service).map_err(|_| {
                let problem = "is not the name of a service: up to 63 of a-z, 0-9, '.', '_' and '-'";
                self.wrong("services", format!("{service:?}"), problem)
            })?;
        }
        Ok(services)
    }

    /// Whether some node of the cluster carries a service, as far as this configuration says.
    fn is_carried(&self, service: &str, settings: &Settings) -> bool {
        let carries = |services: &[String]| services.is_empty() || services.iter().any(|name| name == service);
        let by_node = |node: &NodeEntry| match &node.services {
            _ if node.id == settings.node_id && !settings.services.is_empty() => carries(&settings.services),
            Some(services) => carries(services),
            None => true,
        };
        settings.nodes.iter().any(by_node)
    }

    fn shop(&self, settings: &Settings) -> Result<ShopConfig, ConfigError> {
        let (hour, day) = (ms(3_600_000), ms(86_400_000));
        self.within("gateway.timeout", settings.gateway.timeout, ms(1_000), hour)?;
        self.within("saga.timeout", settings.saga.timeout, ms(100), hour)?;
        self.within("saga.async_timeout", settings.saga.async_timeout, ms(100), day)?;
        self.within("saga.release_wait", settings.saga.release_wait, ms(10), hour)?;
        let partitions = [
            ("order.partitions", settings.order.partitions),
            ("payment.partitions", settings.payment.partitions),
            ("stock.partitions", settings.stock.partitions),
            ("delivery.partitions", settings.delivery.partitions),
            ("voucher.partitions", settings.voucher.partitions),
            ("activity.partitions", settings.activity.partitions),
            ("account.partitions", settings.account.partitions),
        ];
        for (key, partitions) in partitions {
            self.within(key, partitions, 1, 256)?;
        }
        self.within("order.max_lines", settings.order.max_lines, 1, 10_000)?;
        let delivery = &settings.delivery;
        if let Some(capacity) = delivery.capacity_per_day {
            self.within("delivery.capacity_per_day", capacity, 0, 1_000_000_000)?;
            if delivery.partitions != 1 {
                let problem = "a capacity of the day needs delivery.partitions = 1: only one partition can count a day";
                return Err(self.wrong("delivery.capacity_per_day", capacity, problem));
            }
        }
        self.within("delivery.lead_days", delivery.lead_days, 0, 3_650)?;
        self.within("delivery.horizon_days", delivery.horizon_days, 1, 3_650)?;
        let voucher = &settings.voucher;
        for pause in &voucher.retry {
            self.within("voucher.retry", *pause, ms(1), Span(day.0 * 365))?;
        }
        if let Some(valid_for) = voucher.valid_for {
            self.within("voucher.valid_for", valid_for, ms(1_000), Span(day.0 * 3_650))?;
        }
        let campaign = &settings.campaign;
        if campaign.partitions != 1 {
            let problem = "must be 1: only one partition can count the ids of campaigns";
            return Err(self.wrong("campaign.partitions", campaign.partitions, problem));
        }
        self.within("campaign.max_age", campaign.max_age, ms(0), ms(100_000))?;
        self.within("idempotency.keep", settings.idempotency.keep, ms(60_000), Span(day.0 * 365))?;
        let subscription = &settings.subscription;
        let ages = [
            ("order", "subscription.order.max_age", subscription.order.max_age),
            ("payment", "subscription.payment.max_age", subscription.payment.max_age),
            ("stock", "subscription.stock.max_age", subscription.stock.max_age),
            ("delivery", "subscription.delivery.max_age", subscription.delivery.max_age),
            ("voucher", "subscription.voucher.max_age", subscription.voucher.max_age),
            ("activity", "subscription.activity.max_age", subscription.activity.max_age),
            ("account", "subscription.account.max_age", subscription.account.max_age),
        ];
        let mut max_ages = BTreeMap::new();
        for (service, key, age) in ages {
            if let Some(age) = age {
                self.within(key, age, ms(1_000), Span(day.0 * 3_650))?;
                max_ages.insert(service, age.0);
            }
        }
        let rules = crate::services::Settings {
            saga_timeout: settings.saga.timeout.0,
            saga_async_timeout: settings.saga.async_timeout.0,
            saga_release_wait: settings.saga.release_wait.0,
            max_lines: settings.order.max_lines as usize,
            delivers: self.is_carried("delivery", settings),
            delivery_capacity: delivery.capacity_per_day.map(i64::from),
            delivery_lead_days: delivery.lead_days.into(),
            delivery_horizon_days: delivery.horizon_days.into(),
            voucher_strategies: self.known(
                "voucher.strategies",
                &voucher.strategies,
                &STRATEGIES.map(|known| known.name),
            )?,
            voucher_retry: voucher.retry.iter().map(|pause| pause.0).collect(),
            voucher_valid_for: voucher.valid_for.map(|span| span.0),
            activity_types: self.known(
                "activity.types",
                &settings.activity.types,
                &activity::TYPES.map(|known| known.code),
            )?,
            ..crate::services::Settings::default()
        };
        Ok(ShopConfig {
            settings: rules,
            partitions: settings.order.partitions,
            payment_partitions: settings.payment.partitions,
            stock_partitions: settings.stock.partitions,
            delivery_partitions: delivery.partitions,
            voucher_partitions: voucher.partitions,
            campaign_partitions: campaign.partitions,
            campaign_max_age: campaign.max_age.0,
            activity_partitions: settings.activity.partitions,
            account_partitions: settings.account.partitions,
            keep: Keep {
                clients: settings.idempotency.keep.0,
                quota: settings.idempotency.quota,
                changes: settings.limits.state.0,
                ..Keep::default()
            },
            max_ages,
            gateway_timeout: settings.gateway.timeout.0,
        })
    }

    /// Each is the code of a type that this build knows.
    /// Names, all of which there are.
    fn known(&self, key: &str, names: &Names, known: &[&str]) -> Result<Vec<String>, ConfigError> {
        match names.0.iter().find(|name| !known.contains(&name.as_str())) {
            None => Ok(names.0.clone()),
            Some(unknown) => {
                Err(self.wrong(key, format!("{unknown:?}"), format!("must be some of {}", known.join(", "))))
            }
        }
    }

    fn limits(&self, limits: &LimitSettings) -> Result<Limits, ConfigError> {
        self.within("limits.batch", limits.batch, Size(4 * KIB), Size(16 * MIB))?;
        self.within("limits.record", limits.record, Size(1), limits.batch)?;
        self.within("limits.in_flight", limits.in_flight, limits.batch, Size(GIB))?;
        self.within("limits.node_in_flight", limits.node_in_flight, limits.in_flight, Size(64 * GIB))?;
        self.within("limits.segment", limits.segment, Size((2 * limits.batch.0).max(MIB)), Size(4 * GIB))?;
        self.within("limits.commit", limits.commit, Size(64 * KIB), Size(64 * MIB))?;
        self.within("limits.hot_tail", limits.hot_tail, Size(0), Size(GIB))?;
        self.within("limits.hot_tail_total", limits.hot_tail_total, Size(0), Size(64 * GIB))?;
        self.within("limits.index_cache", limits.index_cache, Size(0), Size(64 * GIB))?;
        self.within("limits.view_cache", limits.view_cache, Size(0), Size(64 * GIB))?;
        self.within("limits.checkpoint", limits.checkpoint, Size(MIB), Size(1024 * GIB))?;
        self.within("limits.state", limits.state, Size(KIB), Size(256 * MIB))?;
        self.within("limits.partitions", limits.partitions, 1, 4096)?;
        self.within("limits.keys", limits.keys, 1, 1_000_000_000)?;
        self.within("limits.reserve", limits.reserve, Size(0), Size(GIB))?;
        self.within("limits.min_free_percent", limits.min_free_percent, 0, 50)?;
        Ok(Limits {
            record_bytes: limits.record.0,
            batch_bytes: limits.batch.0,
            in_flight_bytes: limits.in_flight.0,
            node_in_flight_bytes: limits.node_in_flight.0,
            segment_bytes: limits.segment.0,
            commit_bytes: limits.commit.0,
            hot_tail_bytes: limits.hot_tail.0,
            hot_tail_total_bytes: limits.hot_tail_total.0,
            index_cache_bytes: limits.index_cache.0,
            view_cache_bytes: limits.view_cache.0,
            checkpoint_bytes: limits.checkpoint.0,
            partitions: limits.partitions,
            keys: limits.keys,
            reserve_bytes: limits.reserve.0,
            min_free_percent: limits.min_free_percent as u8,
        })
    }

    fn timing(&self, timing: &TimingSettings) -> Result<Timing, ConfigError> {
        self.within("timing.heartbeat", timing.heartbeat, ms(10), ms(5_000))?;
        self.within("timing.election_min", timing.election_min, Span(timing.heartbeat.0 * 2), ms(60_000))?;
        self.within("timing.election_max", timing.election_max, Span(timing.election_min.0 + ms(1).0), ms(120_000))?;
        self.within("timing.append_timeout", timing.append_timeout, ms(100), ms(600_000))?;
        self.within("timing.read_timeout", timing.read_timeout, ms(100), ms(600_000))?;
        self.within("timing.disk_overdue", timing.disk_overdue, ms(20), ms(60_000))?;
        self.within("timing.disk_stuck", timing.disk_stuck, Span(timing.disk_overdue.0 + ms(1).0), ms(300_000))?;
        self.within("timing.disk_failed", timing.disk_failed, Span(timing.disk_stuck.0 + ms(1).0), ms(3_600_000))?;
        self.within("timing.checkpoint_interval", timing.checkpoint_interval, ms(10_000), ms(86_400_000))?;
        Ok(Timing {
            heartbeat: timing.heartbeat.0,
            election_min: timing.election_min.0,
            election_max: timing.election_max.0,
            append_timeout: timing.append_timeout.0,
            read_timeout: timing.read_timeout.0,
            disk: DiskPatience {
                overdue: timing.disk_overdue.0,
                stuck: timing.disk_stuck.0,
                failed: timing.disk_failed.0,
            },
            checkpoint_interval: timing.checkpoint_interval.0,
        })
    }

    /// There is no TLS yet: nothing may listen or connect beyond this machine, and the operator must have said so.
    fn secured(&self, settings: &Settings) -> Result<(), ConfigError> {
        if settings.insecure_dev {
            return Ok(());
        }
        Err(ConfigError::Insecure(
            "this build has no TLS yet, so a node starts only for development: give --insecure-dev to run it without \
             encryption and authentication, on loopback addresses only"
                .into(),
        ))
    }

    fn listen(&self, settings: &Settings) -> Result<Listen, ConfigError> {
        let own = settings.nodes.iter().find(|node| node.id == settings.node_id);
        let own = own.expect("identity() found this node in the list");
        let ListenSettings { http, grpc, peer, admin } = &settings.listen;
        let at = |base: u64| format!("127.0.0.1:{}", base + settings.node_id);
        let choose = |given: &Option<String>, listed: &str, base: u64| match given {
            Some(address) => address.clone(),
            None if listed.is_empty() => at(base),
            None => listed.to_owned(),
        };
        Ok(Listen {
            http: self.address("listen.http", &choose(http, &own.http, HTTP))?,
            grpc: self.address("listen.grpc", &choose(grpc, &own.grpc, GRPC))?,
            peer: self.address("listen.peer", peer.as_deref().unwrap_or(&own.peer))?,
            admin: self.address("listen.admin", &choose(admin, &own.admin, ADMIN))?,
        })
    }

    fn nodes(&self, settings: &Settings, listen: &Listen) -> Result<Vec<NodeAddress>, ConfigError> {
        settings.nodes.iter().map(|node| self.node(node, settings.node_id, listen)).collect()
    }

    fn node(&self, node: &NodeEntry, own: u64, listen: &Listen) -> Result<NodeAddress, ConfigError> {
        let key = |name: &str| format!("nodes[id={}].{name}", node.id);
        self.address(&key("peer"), &node.peer)?;
        for (name, address) in [("grpc", &node.grpc), ("http", &node.http), ("admin", &node.admin)] {
            if !address.is_empty() {
                self.address(&key(name), address)?;
            }
        }
        // This node listens where it is told to, and says so to the others.
        let moved = node.id == own && listen.peer != self.address("nodes.peer", &node.peer)?;
        let peer = if moved { listen.peer.to_string() } else { node.peer.clone() };
        let or = |listed: &str, own_address: SocketAddr| match listed {
            "" if node.id == own => own_address.to_string(),
            listed => listed.to_owned(),
        };
        Ok(NodeAddress {
            id: node.id,
            peer,
            grpc: or(&node.grpc, listen.grpc),
            http: or(&node.http, listen.http),
            admin: or(&node.admin, listen.admin),
        })
    }

    /// A host and port that mean this machine.
    fn address(&self, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
        let shown = || format!("{text:?}");
        let mut found =
            text.to_socket_addrs().map_err(|_| self.wrong(key, shown(), "is not an address (host:port)"))?;
        let address = found.next().ok_or_else(|| self.wrong(key, shown(), "is an address of nobody"))?;
        if !address.ip().is_loopback() {
            let problem = "is not a loopback address; without TLS a node uses only 127.0.0.1, ::1 or localhost";
            return Err(self.wrong(key, shown(), problem));
        }
        Ok(address)
    }
}
