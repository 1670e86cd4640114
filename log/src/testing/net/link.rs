//! What one direction of a link does to what is sent over it.
//!
//! Connections are TCP's: what a lossy link loses is sent again by the kernel, which shows as a delay of everything behind
//! it. So loss is a delay here, too. The one thing that TCP hides and that can still happen is a *request* that comes twice
//! or late: its sender asked again, or a proxy held it back. [`SimLink::late_percent`] does that for requests that
//! may be repeated, over any later connection of the same two nodes.
use crate::testing::{LinkStats, rng::Stream};
use corduroy_proto::v1::{PeerMessage, peer_message::Body, peer_request};
use std::{ops::RangeInclusive, time::Duration};

/// The kernel's first wait before it sends a lost packet again; doubles each time.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// How often at most one packet is lost.
const LOSSES: u32 = 4;
/// How late a repeated request is at most.
const LATEST_MILLIS: u64 = 3_000;

/// Qualities of one direction of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimLink {
    /// Time a packet takes; `None`: [`SimConfig::latency`](crate::testing::SimConfig::latency).
    pub latency: Option<RangeInclusive<Duration>>,
    /// Of 100 packets, how many are lost at each attempt to send them, below 100. The kernel sends them again, later; what was
    /// sent after them on the same connection waits.
    pub loss_percent: u64,
    /// Bytes that pass in a second on each connection; `None`: any number.
    pub bytes_per_second: Option<u64>,
    /// Of 100 packets with requests, of how many the requests arrive once more, up to three seconds later.
    pub late_percent: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) quality: SimLink,
    pub(super) stats: LinkStats,
    usual: RangeInclusive<Duration>,
    rng: Stream,
}

impl Link {
    pub(super) fn new(usual: RangeInclusive<Duration>, rng: Stream) -> Self {
        Link { quality: SimLink::default(), stats: LinkStats::default(), usual, rng }
    }

    pub(super) fn draw_latency(&mut self) -> Duration {
        let latency = self.rng.duration(self.quality.latency.as_ref().unwrap_or(&self.usual));
        let lost = |rng: &mut Stream| self.quality.loss_percent > 0 && rng.below(100) < self.quality.loss_percent;
        let losses = (0..LOSSES).take_while(|_| lost(&mut self.rng)).count() as u32;
        self.stats.slowed += u64::from(latency > *self.usual.end());
        self.stats.resent += u64::from(losses > 0);
        latency + RETRANSMIT * (2_u32.pow(losses) - 1)
    }

    /// How long the line is taken by a packet of so many bytes.
    pub(super) fn transmission(&mut self, bytes: usize) -> Duration {
        let of = |rate: u64| Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / rate.max(1));
        let taken = self.quality.bytes_per_second.map_or(Duration::ZERO, of);
        self.stats.narrowed += u64::from(!taken.is_zero());
        taken
    }

    /// Whether the requests of the next packet arrive once more.
    pub(super) fn draw_repeat(&mut self) -> bool {
        self.quality.late_percent > 0 && self.rng.below(100) < self.quality.late_percent
    }

    pub(super) fn draw_lateness(&mut self) -> Duration {
        Duration::from_millis(self.rng.below(LATEST_MILLIS))
    }
}

/// Requests and heartbeats of Raft, which promises to bear them. A change of the cluster map is asked for once by whoever
/// asks.
pub(super) fn may_come_late(message: &PeerMessage) -> bool {
    match &message.body {
        Some(Body::Request(request)) => !matches!(request.body, None | Some(peer_request::Body::Propose(_))),
        Some(Body::Heartbeats(_)) => true,
        _ => false,
    }
}

pub(super) fn renumber(message: &mut PeerMessage, id: u64) {
    match &mut message.body {
        Some(Body::Request(request)) => request.id = id,
        Some(Body::Heartbeats(heartbeats)) => heartbeats.id = id,
        _ => {}
    }
}
