//! Free ports, below the range from which the kernel takes the ports of outgoing connections: a node that is killed
//! finds its port free when it comes back.
use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The four ports of a node.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP.
    pub http: u16,
    /// gRPC for clients.
    pub grpc: u16,
    /// Other nodes.
    pub peer: u16,
    /// gRPC for operators.
    pub admin: u16,
}

impl Ports {
    /// Four ports nobody listens on. Never given out twice by this process.
    pub fn free() -> Self {
        Ports { http: free(), grpc: free(), peer: free(), admin: free() }
    }

    /// All four, with what they are for.
    pub fn all(&self) -> [(&'static str, u16); 4] {
        [("http", self.http), ("grpc", self.grpc), ("peer", self.peer), ("admin", self.admin)]
    }
}

fn free() -> u16 {
    // Test binaries of other processes begin elsewhere.
    let start = std::process::id().wrapping_mul(613) % COUNT;
    for _ in 0..COUNT {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + taken) % COUNT;
        let port = u16::try_from(port).expect("below 30000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}
