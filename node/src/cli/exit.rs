//! How the command ends: exit codes and the one line that says why.
use corduroy_client::Error;
use corduroy_log::{error::OpenError, world::Halt};
use std::{fmt, process::ExitCode};

/// The request was refused, or failed without any effect.
pub(crate) const FAILED: i32 = 1;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: i32 = 2;
/// No node of the cluster could be reached.
pub(crate) const UNREACHABLE: i32 = 3;
/// The request may or may not have had its effect.
pub(crate) const UNKNOWN_OUTCOME: i32 = 4;
/// A node could not start: a port is taken, a directory is locked.
pub(crate) const START: i32 = 5;
/// A disk of the cluster has no room.
pub(crate) const FULL: i32 = 6;
/// A second Ctrl-C.
pub(crate) const INTERRUPTED: i32 = 130;

const TABLE: &str = "\
Exit codes:
    0  done
    1  the request was refused or failed; nothing happened
    2  the command line or the configuration is wrong
    3  no node of the cluster could be reached
    4  unknown outcome: the request may or may not have had its effect
    5  a node could not start: port in use, data directory locked, too few file descriptors
    6  refused: a disk of the cluster is full; nothing was appended, reads go on
   70  a node halted: DISK_FAILED, a durable write failed, or took too long
   71  a node halted: CORRUPT, durable bytes do not verify
   72  a node halted: DATA_LOSS, its data is gone or older than what it confirmed; its id must not be used again
   73  a node halted: WRONG_IDENTITY, the data directory belongs to another node or cluster
   74  a node halted: UNKNOWN_ENTRY, the log holds an entry of a kind this build does not know
   75  a node halted: DIVERGED, its state of a service is another than the leader's at the same entry
  130  stopped at once by a second Ctrl-C";

/// The reason a node halted for, by its exit code.
pub(super) fn halt_name(code: i32) -> Option<&'static str> {
    let none = String::new;
    let halts = [
        Halt::DiskFailed(none()),
        Halt::Corrupt(none()),
        Halt::DataLoss(none()),
        Halt::WrongIdentity(none()),
        Halt::UnknownEntry(none()),
        Halt::Diverged(none()),
    ];
    halts.iter().find(|halt| halt.exit_code() == code).map(Halt::name)
}

/// The exit codes of every command.
#[derive(Debug, clap::Args)]
#[command(long_about = TABLE)]
pub(super) struct Args {}

/// Prints the table.
pub(super) fn print() -> Result<(), Failure> {
    println!("{TABLE}");
    Ok(())
}

/// Why a command failed, in one sentence.
#[derive(Debug)]
pub(crate) struct Failure {
    code: i32,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Failure::new(FAILED, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure::new(USAGE, message)
    }

    pub(crate) fn start(message: impl Into<String>) -> Self {
        Failure::new(START, message)
    }

    /// The exit code.
    pub(crate) fn code(&self) -> i32 {
        self.code
    }

    /// Writes the line and gives the code.
    pub(super) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("error: {}", self.message);
        }
        ExitCode::from(u8::try_from(self.code()).expect("exit codes are below 256"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Unreachable(_) => UNREACHABLE,
            Error::UnknownOutcome(_) => UNKNOWN_OUTCOME,
            Error::Invalid(_) => USAGE,
            Error::Full { .. } => FULL,
            _ => FAILED,
        };
        let advice = match error {
            Error::Full { .. } => {
                ". Free some space on that disk, or give it more: it goes on by itself. `corduroy status` shows every disk"
            }
            _ => "",
        };
        Failure::new(code, format!("{error}{advice}"))
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let code = match &error {
            OpenError::Halt(halt) => Halt::exit_code(halt),
            OpenError::Config(_) => USAGE,
            OpenError::Locked(_) | OpenError::Listen { .. } | OpenError::Io { .. } => START,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<crate::StartError> for Failure {
    fn from(error: crate::StartError) -> Self {
        match error {
            crate::StartError::Open(error) => error.into(),
            other => Failure::start(other.to_string()),
        }
    }
}
