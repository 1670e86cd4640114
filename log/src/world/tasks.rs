//! Tasks, time that passes, and the end of a node.
use openraft_rt::AsyncRuntime;
use std::{fmt, future::Future};

/// Why a node stops itself on purpose. The names are part of the contract with operators: they appear on stderr, and
/// decide the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// A durable write or sync failed; what is on disk since the last sync is unknown.
    DiskFailed(String),
    /// Bytes that were durable do not verify.
    Corrupt(String),
    /// This node's data is gone or older than what it once confirmed; its id must not be used again.
    DataLoss(String),
    /// The data directory belongs to another node or another cluster.
    WrongIdentity(String),
    /// An entry of a kind this build does not know.
    UnknownEntry(String),
    /// This node's state is another than the leader's at the same entry.
    Diverged(String),
}

impl Halt {
    /// The name operators and monitoring match on.
    pub fn name(&self) -> &'static str {
        match self {
            Halt::DiskFailed(_) => "DISK_FAILED",
            Halt::Corrupt(_) => "CORRUPT",
            Halt::DataLoss(_) => "DATA_LOSS",
            Halt::WrongIdentity(_) => "WRONG_IDENTITY",
            Halt::UnknownEntry(_) => "UNKNOWN_ENTRY",
            Halt::Diverged(_) => "DIVERGED",
        }
    }

    /// The exit code of a process that halts for this reason; documented in `corduroy help exit-codes`.
    pub fn exit_code(&self) -> i32 {
        match self {
            Halt::DiskFailed(_) => 70,
            Halt::Corrupt(_) => 71,
            Halt::DataLoss(_) => 72,
            Halt::WrongIdentity(_) => 73,
            Halt::UnknownEntry(_) => 74,
            Halt::Diverged(_) => 75,
        }
    }

    /// What happened, for a person.
    pub fn detail(&self) -> &str {
        match self {
            Halt::DiskFailed(detail)
            | Halt::Corrupt(detail)
            | Halt::DataLoss(detail)
            | Halt::WrongIdentity(detail)
            | Halt::UnknownEntry(detail)
            | Halt::Diverged(detail) => detail,
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.detail())
    }
}

/// The runtime: openraft's, plus what the log needs beyond it.
pub trait Tasks: AsyncRuntime + Copy + Clone + Default + Eq + Ord + Send + Sync {
    /// Runs a future apart from all others: on its own thread in the real world, where it may block. Ends when the
    /// future does.
    fn spawn_dedicated<F>(name: &str, future: F)
    where
        F: Future<Output = ()> + Send + 'static;

    /// Ends this node at once: nothing it would have sent or written after this call happens. In the real world the
    /// process exits with [`Halt::exit_code`]; in the simulated one the node is marked dead and the call returns, after
    /// which the caller must do nothing more.
    fn halt(reason: Halt);
}
