//! Configuration of a node: one TOML file, `CORDUROY_` variables, flags; the later wins.
//!
//! ```text
//! defaults ─▶ file (--config) ─▶ environment ─▶ flags ─▶ Settings (as written) ─▶ validate ─▶ NodeConfig
//! ```
//!
//! Sizes and times are written for people (`"4MiB"`, `"250ms"`). What is wrong is refused in one sentence that names the
//! key, the value, and where it came from.
//!
//! **Invariant**: a key that is not in [`KEYS`] is refused, never ignored.

mod load;
mod settings;
mod units;
mod validate;

use crate::{runtime::Keep, services::Settings};
use corduroy_log::config::Config;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

pub use load::Sources;
#[cfg(test)]
pub(crate) use settings::SERVICE_TABLES;
pub use settings::{Flags, KEYS, NodeEntry};

/// Everything a node needs to know before it starts. Made by [`NodeConfig::load`].
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What the log is told: identity, data directory, nodes, limits, times.
    pub log: Config,
    /// Where this node listens.
    pub listen: Listen,
    /// How long a clean shutdown may take before what is left is dropped.
    pub shutdown_timeout: Duration,
    /// What the services of this repository are told.
    pub shop: ShopConfig,
}

/// Settings of the services of this repository. Equal on all nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShopConfig {
    /// What their rules see.
    pub settings: Settings,
    /// Partitions of `order`, when it is made.
    pub partitions: u32,
    /// Partitions of `payment`, when it is made.
    pub payment_partitions: u32,
    /// Partitions of `stock`, when it is made.
    pub stock_partitions: u32,
    /// Partitions of `delivery`, when it is made.
    pub delivery_partitions: u32,
    /// Partitions of `voucher`, when it is made.
    pub voucher_partitions: u32,
    /// Partitions of `campaign`: one, in which ids are counted.
    pub campaign_partitions: u32,
    /// For how long a reply about campaigns may be kept by those it comes to.
    pub campaign_max_age: Duration,
    /// Partitions of `activity`, when it is made.
    pub activity_partitions: u32,
    /// Partitions of `account`, when it is made.
    pub account_partitions: u32,
    /// For how long the ids of commands are remembered.
    pub keep: Keep,
    /// How old an event of a peer may be when its turn comes, by service.
    pub max_ages: BTreeMap<&'static str, Duration>,
    /// For how long a request waits for its answer.
    pub gateway_timeout: Duration,
}

impl Default for ShopConfig {
    fn default() -> Self {
        ShopConfig {
            settings: Settings::default(),
            partitions: 4,
            payment_partitions: 4,
            stock_partitions: 4,
            delivery_partitions: 1,
            voucher_partitions: 4,
            campaign_partitions: 1,
            campaign_max_age: Duration::from_secs(100),
            activity_partitions: 1,
            account_partitions: 4,
            keep: Keep::default(),
            max_ages: BTreeMap::new(),
            gateway_timeout: Duration::from_secs(30),
        }
    }
}

/// The addresses a node listens on. All loopback, as long as there is no TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// HTTP: health, metrics.
    pub http: SocketAddr,
    /// gRPC for clients.
    pub grpc: SocketAddr,
    /// Other nodes.
    pub peer: SocketAddr,
    /// gRPC for operators.
    pub admin: SocketAddr,
}

/// Why a configuration was refused. One sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The file is no TOML.
    #[error("the configuration file {path} is not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// Where and why.
        reason: String,
    },
    /// A key nobody knows.
    #[error("unknown configuration key {key:?} in {path}{}", suggestion.as_ref().map_or(String::new(), |s| format!("; did you mean {s:?}?")))]
    UnknownKey {
        /// The key, with its table.
        key: String,
        /// The file.
        path: String,
        /// A key that looks alike.
        suggestion: Option<String>,
    },
    /// A value of the wrong kind, or out of range.
    #[error("{key} = {value} ({origin}): {problem}")]
    Value {
        /// The key, with its table.
        key: String,
        /// The value as given.
        value: String,
        /// The file, variable or flag it came from.
        origin: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A key that has no default was not given.
    #[error("{0}")]
    Missing(String),
    /// No TLS yet, so nothing but loopback, and only when asked for.
    #[error("{0}")]
    Insecure(String),
}

#[cfg(test)]
mod tests;
