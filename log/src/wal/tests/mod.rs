//! Tests of the WAL in the simulated world, whose disk forgets what was not synced.
mod bed;

mod appends;
mod closing;
mod crashes;
mod damage;
mod failures;
mod footers;
mod formats;
mod identities;
mod idle;
mod interleaved;
mod manifests;
mod model;
mod offline;
mod real;
mod recovery;
mod space;
mod tails;

use super::{EntryKind, PeerIdentity, WalEntry};
use crate::{
    error::OpenError,
    topic::{LogId, Vote},
    world::Halt,
};
use bed::*;
