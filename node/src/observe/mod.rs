//! What a node says about itself: metrics, logs, and the signals it listens to.

pub(crate) mod logs;
mod metrics;
pub(crate) mod signals;

pub(crate) use metrics::Metrics;
