//! The bytes of one connection.
use super::{Lane, Shared, Way, listener};
use std::{io, sync::atomic::Ordering, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Bytes taken at a time; as many may wait here per direction.
const CHUNK: usize = 128 << 10;

/// Passes bytes between the two until both directions have ended, one has failed, or the connection is reset.
pub(super) async fn run(caller: TcpStream, target: TcpStream, shared: &Shared) {
    let mut resets = shared.resets.subscribe();
    // A connection without delays of its own. Where that cannot be had it is a little slower.
    let _ = (caller.set_nodelay(true), target.set_nodelay(true));
    let (mut from_caller, mut to_caller) = caller.into_split();
    let (mut from_target, mut to_target) = target.into_split();
    let both = async {
        tokio::try_join!(
            pass(&mut from_caller, &mut to_target, shared, Way::Forth),
            pass(&mut from_target, &mut to_caller, shared, Way::Back),
        )
    };
    let failed = tokio::select! {
        ended = both => ended.is_err(),
        _ = resets.changed() => {
            shared.reset.fetch_add(1, Ordering::Relaxed);
            true
        }
    };
    if failed {
        // The halves are of two sockets; each was split here, so they fit.
        for (read, write) in [(from_caller, to_caller), (from_target, to_target)] {
            read.reunite(write).map(abort).expect("both halves are of one socket");
        }
    }
}

/// Ends a connection at once: the other side gets a reset, not an end.
pub(super) fn abort(stream: TcpStream) {
    // Where the system refuses, it ends in the ordinary way.
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

/// One direction until its end, which is passed on, too.
async fn pass(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, shared: &Shared, way: Way) -> io::Result<()> {
    let lane = shared.lane(way);
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await;
        if !matches!(read, Ok(1..)) && way == Way::Back {
            // Before the caller hears of it and tries again.
            listener::look(shared).await;
        }
        let count = match read {
            Ok(count) => count,
            Err(error) => {
                lane.whole(0).await;
                return Err(error);
            }
        };
        lane.whole(count).await;
        if count == 0 {
            return to.shutdown().await;
        }
        let written = to.write_all(&buffer[..count]).await;
        if written.is_err() && way == Way::Forth {
            listener::look(shared).await;
        }
        written?;
        lane.passed_bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Lane {
    /// Waits, with so many bytes in hand, until the direction is not held.
    async fn whole(&self, count: usize) {
        let mut held = self.held.subscribe();
        if *held.borrow_and_update() {
            self.held_bytes.fetch_add(count as u64, Ordering::Relaxed);
            // The sender is in `self`, so it outlives this.
            let _ = held.wait_for(|held| !held).await;
        }
    }
}
