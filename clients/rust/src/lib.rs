//! Asynchronous gRPC client for Corduroy.
//!
//! ```
#![doc = include_str!("../doc/cluster.rs")]
//! use corduroy_client::{Client, Record};
//! # let admin = corduroy_client::Admin::new(cluster.admin(), std::time::Duration::from_secs(15))?;
//! # admin.create_topic("orders", 4, None).await?;
//!
//! let client = Client::builder().endpoints(cluster.grpc()).connect().await?;
//! let producer = client.producer("orders").build();
//! let delivery = producer.send(Record::new("placed").with_key("customer-7")).await?;
//! let appended = delivery.await?;
//! println!("at offset {} of partition {}", appended.first_offset, appended.partition);
//!
//! let mut consumer = client.consumer("orders").cursor("mailer").open().await?;
//! let some = consumer.next().await.expect("it does not end")?;
//! assert_eq!(&some.records[0].value[..], b"placed");
//! # Ok(()) }) }
//! ```
//!
//! Any node is enough to begin with: the client learns the others, finds the leader of a partition, and is at the next one
//! within milliseconds of its election. Five things to know:
//!
//! * **An acknowledged append stays.** A majority has it on disk before the client is told.
//! * **Appends are numbered, so sending one again is harmless.** A leader that dies, or a connection that breaks, is followed
//!   by sending what was not acknowledged to the next leader: the caller sees an offset. Only when the client's timeout is
//!   over, and the records may be there all the same, it says [`Error::UnknownOutcome`].
//! * **A [`Producer`] keeps the order of each partition** while it has many records under way, and gathers them into requests
//!   as large as the load asks for. [`Client::append`] is one append; [`Client::append_if`] and [`Client::append_if_key`]
//!   are for those who must have read what was there.
//! * **A [`Consumer`] has no gaps and no repeats**, also across the death of the node it reads from, and remembers in a named
//!   cursor how far it has come. [`Subscription`] is one partition of it.
//! * **Reads say what they promise** ([`Consistency`]); a [`Session`] reads its own writes through any replica.
//!
//! ```text
//! append, read, cursors ─▶ call (deadline, retry rules) ─▶ leaders (who leads; asked while nobody does) ─▶ routes, pool
//! producer, subscription, consumer ─▶ long-lived streams with the same rules ──────────────────────────────┘
//! ```
//!
//! Every call has a deadline ([`Builder::timeout`]); half-open connections are found by keepalive, and a leader that says
//! nothing for a quarter of a second is left as soon as another one leads.

mod client;
mod leaders;
mod retry;
mod routes;

mod append;
mod lookup;
mod producer;
mod slots;

mod read;
mod session;

mod subscribe;

mod consumer;
mod cursors;

mod admin;

mod error;
mod pool;
mod record;

pub use admin::{Admin, ClusterStatus, DiskView, NewTopic, NodeView, PartitionView, TopicInfo};
pub use append::{Appended, partition_for_key};
pub use client::{Builder, Client};
pub use consumer::{Consumer, ConsumerBuilder, Records, StartAt};
pub use cursors::Cursor;
pub use error::Error;
pub use lookup::{KeyPage, TimeOffset};
pub use producer::{Delivery, Keyless, Producer, ProducerBuilder};
pub use read::{Consistency, Offsets, Page, ReadOptions};
pub use record::{Header, Record, StoredRecord};
pub use routes::{NodeEndpoint, PartitionRoute, Topology};
pub use session::Session;
pub use subscribe::Subscription;

#[cfg(test)]
mod tests;
