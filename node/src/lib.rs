//! The Corduroy node: a replicated log with its ports, and the `corduroy` command.
//!
//! ```no_run
//! use corduroy_node::{Node, config::{NodeConfig, Sources}};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sources = Sources { file: Some("node.toml".into()), ..Sources::default() };
//! Node::builder().config(NodeConfig::load(&sources)?).run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The way of one request; modules are declared in this order:
//!
//! ```text
//! client ──gRPC──▶ rpc          decodes, checks, asks; one map from errors to gRPC codes
//!        ──HTTP──▶ gateway      health and metrics; the only place that knows HTTP status codes
//!                  routing      key ▶ partition
//!                  node         starts the ports and the log, stops them in order
//!                  └▶ corduroy_log::log::Log
//!                  runtime      services: decide on the leader, evolve on every replica
//!                  services     the rules of those of this repository
//! ```
//!
//! **Invariant**: handlers hold no state of their own. What a node knows is in its log; what it is doing is in [`Node`].

mod rpc;

mod gateway;

mod routing;

pub mod runtime;
pub mod services;

mod node;
mod shared;
pub mod shop;
mod world;

mod observe;
mod os;

pub mod cli;
pub mod config;

#[cfg(feature = "testing")]
pub mod testing;

pub use axum;
pub use node::{Builder, Node, NodeServices, StartError};
