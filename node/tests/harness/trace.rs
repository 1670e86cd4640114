//! System calls of a running node that fail or take long: `strace -e inject`.
use super::wait_until;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// An strace that is attached to a node. Detached when dropped.
#[derive(Debug)]
pub struct Tracer {
    child: Child,
    output: PathBuf,
}

impl Tracer {
    /// Attaches to a process and its threads, and injects (`fdatasync:error=EIO:when=1`). Counts begin when it is attached.
    ///
    /// # Errors
    /// Why this machine does not let us.
    pub fn attach(pid: u32, inject: &str, dir: &Path) -> Result<Self, String> {
        let output = dir.join(format!("strace-{pid}"));
        let call = inject.split(':').next().expect("split gives at least one");
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-e", &format!("trace={call}"), "-e", &format!("inject={inject}")]);
        command.arg("-o").arg(&output).args(["-p", &pid.to_string()]).stdin(Stdio::null());
        let errors = fs::File::create(dir.join("strace.errors")).expect("a temporary file");
        let child = command.stderr(errors).spawn().map_err(|error| format!("strace: {error}"))?;
        let mut tracer = Tracer { child, output };
        let attached = wait_until("strace to attach", || {
            if let Some(status) = tracer.child.try_wait().expect("it is our child") {
                // What was injected has ended the process, and strace with it, before anybody looked.
                return Ok(if status.success() { Ok(()) } else { Err(format!("strace ended with {status}")) });
            }
            let traced = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let tracer =
                traced.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap_or("0").trim().to_owned();
            if tracer == "0" { Err("not traced".into()) } else { Ok(Ok(())) }
        });
        attached.map(|()| tracer)
    }

    /// Whether anything was injected so far.
    pub fn fired(&self) -> bool {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        text.contains("(INJECTED)") || text.contains("(DELAYED)")
    }

    /// Everything it has seen.
    pub fn seen(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
