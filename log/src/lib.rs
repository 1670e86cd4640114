//! Under construction.
pub mod config;
pub mod error;
pub mod log;
pub mod partition;
pub mod record;
pub mod topic;
pub mod world;
