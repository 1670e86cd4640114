//! Asynchronous gRPC client for Corduroy.
//!
//! ```no_run
//! # async fn example() -> Result<(), corduroy_client::Error> {
//! use corduroy_client::{Client, Record};
//!
//! let client = Client::builder().endpoints(["127.0.0.1:7001", "127.0.0.1:7002"]).connect().await?;
//! let ack = client.append("orders", Some(0), vec![Record::new("placed")]).await?;
//! println!("at offset {} of partition {}", ack.first_offset, ack.partition);
//! # Ok(())
//! # }
//! ```
//!
//! Any node is enough to begin with: the client learns the others, finds the leader of a partition, and follows it when
//! it moves. Four things to know:
//!
//! * **An acknowledged append stays.** [`Client::append`] returns after a majority has the records on disk.
//! * **Nothing is sent twice unless that is harmless.** An append is repeated only when the answer proves that nothing
//!   of it was appended (not the leader, busy, no connection). Where that is not known the client says
//!   [`Error::UnknownOutcome`] and leaves the decision to the caller, who knows how to look.
//! * **[`Producer`] keeps order while it pipelines**: many appends in flight, acknowledged in the order they were sent.
//! * **[`Client::subscribe`] has no gaps and no repeats**, also across the death of the node it reads from.
//!
//! ```text
//! append, read, offsets ─▶ call (deadline, retry rules) ─▶ routes (who leads) ─▶ pool (one connection per node)
//! producer, subscription ─▶ long-lived streams with the same rules ──────────────┘
//! ```
//!
//! Every call has a deadline ([`Builder::timeout`]); half-open connections are found by keepalive.

mod client;
mod retry;
mod routes;

mod append;
mod lookup;
mod producer;
mod read;
mod subscribe;

mod admin;

mod error;
mod pool;
mod record;

pub use admin::{Admin, ClusterStatus, DiskView, NodeView, PartitionView, TopicInfo};
pub use append::{Appended, partition_for_key};
pub use client::{Builder, Client};
pub use error::Error;
pub use lookup::{KeyPage, TimeOffset};
pub use producer::{Delivery, Producer};
pub use read::{Consistency, Offsets, Page, ReadOptions};
pub use record::{Header, Record, StoredRecord};
pub use routes::{NodeEndpoint, PartitionRoute, Topology};
pub use subscribe::Subscription;

#[cfg(test)]
mod tests;
