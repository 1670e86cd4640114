//! The child processes: started, watched, stopped.
use super::layout::{Layout, Member};
use crate::cli::exit::{self, Failure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, oneshot},
};

/// The variables that set flags of `corduroy node`. The children get their flags from this process alone.
const TWINS: &[&str] = &[
    "CORDUROY_CONFIG",
    "CORDUROY_ID",
    "CORDUROY_CLUSTER_ID",
    "CORDUROY_DATA",
    "CORDUROY_PEERS",
    "CORDUROY_LISTEN_HTTP",
    "CORDUROY_LISTEN_GRPC",
    "CORDUROY_LISTEN_PEER",
    "CORDUROY_LISTEN_ADMIN",
    "CORDUROY_FORMAT",
];

/// How much of a log is looked at for its last line. Bytes.
const TAIL: u64 = 16 << 10;

/// All children that run.
pub(in crate::cli) struct Children {
    running: BTreeMap<u64, Running>,
    report: mpsc::UnboundedSender<Death>,
    deaths: mpsc::UnboundedReceiver<Death>,
}

/// The way to one child. Dropping `kill` unsent changes nothing.
struct Running {
    pid: u32,
    terminate: Option<oneshot::Sender<()>>,
    kill: Option<oneshot::Sender<()>>,
}

/// The end of a child.
#[derive(Debug)]
pub(in crate::cli) struct Death {
    pub(in crate::cli) id: u64,
    status: Option<ExitStatus>,
}

impl Children {
    /// Starts a process for each node.
    pub(super) fn spawn(layout: &Layout) -> Result<Self, Failure> {
        let mut children = Children::none();
        for member in &layout.members {
            children.start(layout, member)?;
        }
        Ok(children)
    }

    /// No process yet.
    pub(in crate::cli) fn none() -> Self {
        let (report, deaths) = mpsc::unbounded_channel();
        Children { running: BTreeMap::new(), report, deaths }
    }

    /// Starts the process of one node, which does not run.
    pub(in crate::cli) fn start(&mut self, layout: &Layout, member: &Member) -> Result<(), Failure> {
        let child = start(layout, member)
            .map_err(|error| Failure::start(format!("cannot start the process of node {}: {error}", member.id)))?;
        let pid = child.id().expect("it has not been waited for");
        let (terminate, told_to_end) = oneshot::channel();
        let (kill, told_to_die) = oneshot::channel();
        tokio::spawn(watch(member.id, child, told_to_end, told_to_die, self.report.clone()));
        self.running.insert(member.id, Running { pid, terminate: Some(terminate), kill: Some(kill) });
        Ok(())
    }

    pub(super) fn alive(&self) -> usize {
        self.running.len()
    }

    pub(in crate::cli) fn pid(&self, id: u64) -> Option<u32> {
        self.running.get(&id).map(|running| running.pid)
    }

    /// The next child that ends; waits forever when none is left.
    pub(in crate::cli) async fn next_death(&mut self) -> Death {
        let death = self.deaths.recv().await.expect("a sender is kept beside the receiver");
        self.running.remove(&death.id);
        death
    }

    /// SIGKILL to one; its death is reported as any other.
    pub(in crate::cli) fn kill_one(&mut self, id: u64) {
        if let Some(kill) = self.running.get_mut(&id).and_then(|running| running.kill.take()) {
            let _ = kill.send(());
        }
    }

    /// SIGTERM to all.
    pub(super) fn terminate(&mut self) {
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.terminate_one(id);
        }
    }

    /// SIGTERM to one; its death is reported as any other.
    pub(in crate::cli) fn terminate_one(&mut self, id: u64) {
        if let Some(terminate) = self.running.get_mut(&id).and_then(|running| running.terminate.take()) {
            let _ = terminate.send(());
        }
    }

    /// SIGKILL to all, and waits until they are gone.
    pub(in crate::cli) async fn kill(&mut self) {
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.kill_one(id);
        }
        while !self.running.is_empty() {
            self.next_death().await;
        }
    }
}

/// One child: its log is appended to, its standard input is a pipe that only this process holds, and it is in a process
/// group of its own, so that a Ctrl-C in the terminal reaches this process alone.
fn start(layout: &Layout, member: &Member) -> std::io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(layout.log_of(member))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(layout.arguments(member)).args(["--exit-with-parent", "--log-format", "json"]);
    for twin in TWINS {
        command.env_remove(twin);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
    command.process_group(0).kill_on_drop(true).spawn()
}

/// Waits for a child's end, passing signals on to it until then. Only this task waits for the child, so its pid is the
/// child's as long as this loop runs.
async fn watch(
    id: u64,
    mut child: Child,
    terminate: oneshot::Receiver<()>,
    kill: oneshot::Receiver<()>,
    report: mpsc::UnboundedSender<Death>,
) {
    // Held to the end: closing it tells the child that its parent is gone.
    let _stdin = child.stdin.take();
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    tokio::pin!(terminate, kill);
    let (mut told_to_end, mut told_to_die) = (false, false);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            told = &mut terminate, if !told_to_end => {
                told_to_end = true;
                if let (Ok(()), Some(pid)) = (told, pid) {
                    // It may have ended a moment ago; `wait` will say so.
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
            told = &mut kill, if !told_to_die => {
                told_to_die = true;
                if told.is_ok() {
                    let _ = child.start_kill();
                }
            }
        }
    };
    // The receiver lives until all children are gone.
    let _ = report.send(Death { id, status });
}

impl Death {
    /// It ended because it was told to, and had no trouble.
    pub(in crate::cli) fn is_clean(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// How it ended, in a few words.
    pub(in crate::cli) fn how(&self) -> String {
        self.status.map_or_else(|| "ended, and how is not known".to_owned(), describe_status)
    }

    /// The code to end with when this death ends everything.
    pub(super) fn exit_code(&self) -> i32 {
        self.status.and_then(|status| status.code()).filter(|code| *code != 0).unwrap_or(exit::FAILED)
    }

    /// How it died, its last words, and how to start it again.
    pub(in crate::cli) fn describe(&self, layout: &Layout) -> String {
        let member = layout.member(self.id);
        let log = layout.log_of(member);
        let mut text = format!("node {} {}", self.id, self.how());
        if let Some(line) = last_line(&log) {
            text += &format!("\n  last line of {}: {line}", log.display());
        }
        let arguments = layout.arguments(member).join(" ");
        text + &format!("\n  the other nodes go on; to start it again: corduroy {arguments}")
    }
}

fn describe_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended without being told to".to_owned(),
        (Some(code), _) => match exit::halt_name(code) {
            Some(name) => format!("halted: {name} (exit code {code})"),
            None => format!("ended with exit code {code}"),
        },
        (None, Some(signal)) => format!("was killed by {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        other => return format!("signal {other}"),
    };
    format!("{name} (signal {signal})")
}

/// The last line of a log that says something; of a JSON line, its message.
fn last_line(log: &Path) -> Option<String> {
    let mut file = std::fs::File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail).into_owned();
    let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
    let parsed: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = parsed.as_ref().and_then(|json| json.get("message")?.as_str());
    Some(message.unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_described_by_halt_code_or_signal() {
        assert_eq!(describe_status(ExitStatus::from_raw(72 << 8)), "halted: DATA_LOSS (exit code 72)");
        assert_eq!(describe_status(ExitStatus::from_raw(5 << 8)), "ended with exit code 5");
        assert_eq!(describe_status(ExitStatus::from_raw(9)), "was killed by SIGKILL (signal 9)");
        assert_eq!(describe_status(ExitStatus::from_raw(0)), "ended without being told to");
    }

    #[test]
    fn last_line_of_a_log_is_its_message() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let log = dir.path().join("log");
        std::fs::write(&log, "{\"level\":\"INFO\",\"message\":\"the node is up\"}\n\n").expect("written");
        assert_eq!(last_line(&log).as_deref(), Some("the node is up"));
        std::fs::write(&log, "{\"message\":\"first\"}\nerror: port in use\n").expect("written");
        assert_eq!(last_line(&log).as_deref(), Some("error: port in use"));
        assert_eq!(last_line(&dir.path().join("none")), None);
    }
}
