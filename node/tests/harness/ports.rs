//! Free ports, below the range from which the kernel takes the ports of outgoing connections: a node that is killed
//! finds its port free when it comes back.
use corduroy_log::testing::free_port;

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
    free_port().expect("a free port").port()
}
