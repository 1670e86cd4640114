//! What the simulated world promises to the tests that run in it.
mod determinism;
mod disk;
mod net;
mod tasks;

use super::{Sim, SimConfig};
use crate::world::{Connection, Disk, DiskFile, Net, NetError, Purpose};
use corduroy_proto::v1::{Packet, PeerMessage, Refused, peer_message::Body};
use futures::StreamExt as _;
use std::{path::Path, time::Duration};

fn packet(detail: &str) -> Packet {
    let refused = Refused { refusal: 0, detail: detail.to_owned() };
    Packet { messages: vec![PeerMessage { body: Some(Body::Refused(refused)) }] }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
