//! One `corduroy node`, as a child process of the test.
use super::{PATIENCE, Ports, http, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Instant,
};

/// The built binary, with no `CORDUROY_` variable of whoever runs the tests.
pub fn corduroy() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corduroy"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CORDUROY_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself.
pub fn run<I>(arguments: I) -> Output
where
    I: IntoIterator,
    I::Item: AsRef<std::ffi::OsStr>,
{
    corduroy().args(arguments).output().expect("the binary was built for this test")
}

/// How a node ended, and everything it wrote to standard error since it was last started.
#[derive(Debug)]
pub struct Ended {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// What it said.
    pub stderr: String,
}

impl Ended {
    /// Asserts the exit code, and that each of the texts was said.
    #[track_caller]
    pub fn assert(&self, code: i32, says: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        for text in says {
            assert!(self.stderr.contains(text), "{text:?} is missing in what the node said:\n{}", self.stderr);
        }
    }
}

/// A node: its files, its ports, and the process while it runs.
#[derive(Debug)]
pub struct NodeProcess {
    /// Its id.
    pub id: u64,
    /// Its ports.
    pub ports: Ports,
    /// Its data directory.
    pub data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// Where this run's part of the log file begins.
    log_start: u64,
    child: Option<Child>,
}

impl NodeProcess {
    /// A node that is not running. `dir` holds its data directory and its log file.
    pub fn new(id: u64, ports: Ports, config: &Path, dir: &Path) -> Self {
        let (data, log) = (dir.join(format!("node-{id}")), dir.join(format!("node-{id}.log")));
        NodeProcess { id, ports, data, config: config.to_owned(), log, log_start: 0, child: None }
    }

    /// Starts it.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it with more flags.
    pub fn start_with(&mut self, flags: &[&str]) {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log file");
        self.log_start = log.metadata().expect("its size").len();
        let mut command = corduroy();
        command.arg("node").arg("--config").arg(&self.config).arg("--data").arg(&self.data);
        command.args(["--id", &self.id.to_string(), "--insecure-dev", "--log-format", "human"]).args(flags);
        let stdout = log.try_clone().expect("a second handle");
        self.child = Some(command.stdout(stdout).stderr(log).spawn().expect("the binary was built for this test"));
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }

    /// True between start and end.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Waits for 200 from `/readyz`; fails at once when the process ends instead.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        self.wait_for("ready", |status, _| status == 200);
    }

    /// Waits until the node has opened its log; it may be alone, and then it will not get ready.
    #[track_caller]
    pub fn wait_open(&mut self) {
        self.wait_for("open", |_, checks| checks.contains("[+] recovery"));
    }

    #[track_caller]
    fn wait_for(&mut self, what: &str, reached: impl Fn(u16, &str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let child = self.child.as_mut().expect("the node runs");
            if let Some(status) = child.try_wait().expect("it is our child") {
                panic!("node {} ended with {status} instead of getting {what}:\n{}", self.id, self.log_of_run());
            }
            let answer = http::get(self.ports.http, "/readyz?verbose");
            if answer.as_ref().is_ok_and(|(status, checks)| reached(*status, checks)) {
                return;
            }
            assert!(Instant::now() < deadline, "node {} is not {what}: {answer:?}\n{}", self.id, self.log_of_run());
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
    }

    /// kill -9, and proof that the process is gone.
    pub fn kill(&mut self) {
        let pid = self.pid();
        let mut child = self.child.take().expect("asked for its id above");
        child.kill().expect("it is our child and was not waited for");
        let status = child.wait().expect("it is our child");
        assert_eq!(status.code(), None, "node {} ended by itself before it was killed: {status}", self.id);
        assert!(state_of(pid).is_none(), "process {pid} is still there after kill -9");
    }

    /// SIGSTOP, and proof that every thread has stopped.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        wait_until("the process to stop", || match state_of(self.pid()) {
            Some('T') => Ok(()),
            state => Err(format!("state {state:?}")),
        });
    }

    /// SIGCONT.
    pub fn resume(&self) {
        assert_eq!(state_of(self.pid()), Some('T'), "somebody else woke the process");
        self.signal(Signal::CONT);
        wait_until("the process to run again", || match state_of(self.pid()) {
            Some('T') | None => Err("still stopped, or gone".into()),
            Some(_) => Ok(()),
        });
    }

    /// SIGTERM. [`NodeProcess::wait`] tells how it ended.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait(&mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let child = self.child.as_mut().expect("the node runs");
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(Instant::now() < deadline, "node {} does not end:\n{}", self.id, self.log_of_run());
            std::thread::sleep(std::time::Duration::from_millis(25));
        };
        self.child = None;
        Ended { status, stderr: self.log_of_run() }
    }

    /// Asserts that the process is alive: it has neither ended nor become a zombie.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        let ended = self.child.as_mut().expect("the node runs").try_wait().expect("it is our child");
        assert!(ended.is_none(), "node {} ended with {ended:?}:\n{}", self.id, self.log_of_run());
    }

    /// What it wrote since it was last started.
    pub fn log_of_run(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).map_or(0, |start| start.min(bytes.len()));
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// The last lines of its log, over all of its runs.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        // The child has not been waited for, so that its id cannot have been given to another process.
        kill_process(pid, signal).expect("it is our child");
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The state letter of a process (`R`, `S`, `T` for stopped, ...); `None` when there is no such process.
fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, blanks and parentheses included.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Memory of a process, where the system tells. Bytes.
pub fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}
