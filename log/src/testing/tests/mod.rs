//! What the simulated world promises to the tests that run in it.
mod clock;
mod cluster;
mod determinism;
mod disk;
mod disk_faults;
mod net;
mod tasks;
mod views;

use super::{Sim, SimConfig};
use crate::world::{Connection, Disk, DiskFile, Net, NetError, Purpose, conformance::packet};
use futures::StreamExt as _;
use std::{path::Path, time::Duration};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
