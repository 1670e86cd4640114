//! Tests of the WAL in the simulated world, whose disk forgets what was not synced.
mod appends;

use super::{EntryKind, PartitionLog, Wal, WalEntry, WalOptions};
use crate::{
    error::OpenError,
    testing::{Sim, SimDisk, SimWorld},
    topic::{ClusterId, LogId, PartitionId},
    world::{Disk as _, DiskFile as _},
};
use bytes::Bytes;
use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
};
use tokio::sync::oneshot;

type Log = PartitionLog<SimWorld>;

const CLUSTER: ClusterId = ClusterId(*b"a test's cluster");
const DIR: &str = "/data";
const P: PartitionId = PartitionId::new(1, 0);

fn options() -> WalOptions {
    WalOptions {
        dir: PathBuf::from(DIR),
        cluster: CLUSTER,
        node: 1,
        segment_bytes: 64 << 10,
        commit_bytes: 16 << 10,
        hot_tail_bytes: 8 << 10,
    }
}

fn open(sim: &Sim) -> Result<Wal<SimWorld>, OpenError> {
    open_with(sim, options())
}

/// Opens node 1's WAL. Its writer is a task of the node, so this runs as one.
fn open_with(sim: &Sim, options: WalOptions) -> Result<Wal<SimWorld>, OpenError> {
    // The task runs when the test yields next; the result is needed now.
    let env = sim.env(1);
    Wal::open(&env.disk, options)
}

/// Runs a script as a task of node 1.
fn on_node<T: Send + 'static>(seed: u64, script: impl Future<Output = T> + Send + 'static) -> T {
    let sim = Sim::new(seed);
    sim.run(async { sim.spawn_on(1, script).await.expect("nobody kills the node") })
}

fn entry(term: u64, index: u64, payload: impl Into<Vec<u8>>) -> WalEntry {
    let payload = Bytes::from(payload.into());
    WalEntry { id: LogId { term, index }, kind: EntryKind::Batch, crc: crc32c::crc32c(&payload), payload }
}

/// Entries whose payloads say who they are.
fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<WalEntry> {
    indexes.map(|index| entry(term, index, format!("entry {index} of term {term}"))).collect()
}

fn append(log: &Log, entries: Vec<WalEntry>) -> impl Future<Output = io::Result<()>> + use<> {
    let (sender, receiver) = oneshot::channel();
    log.append(entries, Box::new(move |result| sender.send(result).expect("the test waits")));
    async { receiver.await.expect("every append is answered") }
}
