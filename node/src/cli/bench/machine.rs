//! What the machine is: a figure without it means nothing.
use super::latencies::Latencies;
use crate::cli::exit::Failure;
use corduroy_log::world::{Disk as _, DiskFile as _, real::RealDisk};
use serde::Serialize;
use std::{fmt, io, path::Path, time::Instant};

/// Syncs that are timed.
const PROBES: u64 = 300;
/// What each of them makes durable. Bytes.
const PROBE: u64 = 4096;

/// Cores, file system, and what a sync costs there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    cores: usize,
    cpu: Option<String>,
    file_system: Option<String>,
    #[serde(rename = "syncMs")]
    sync: Latencies,
    optimised: bool,
}

impl Machine {
    /// Looks, and times a few syncs in `dir`.
    pub(super) async fn look(dir: &Path) -> Result<Self, Failure> {
        let sync =
            probe(dir).await.map_err(|error| Failure::start(format!("cannot write to {}: {error}", dir.display())))?;
        Ok(Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu(),
            file_system: file_system(dir),
            sync,
            optimised: !cfg!(debug_assertions),
        })
    }

    /// Says so when figures of this machine or this build mean nothing.
    pub(super) fn warn(&self, dir: &Path) {
        if self.file_system.as_deref().is_some_and(|name| matches!(name, "tmpfs" | "ramfs")) {
            eprintln!("warning: {} is not on a disk; the figures mean nothing", dir.display());
        }
        if !self.optimised {
            eprintln!("warning: this is a debug build; for figures use `cargo run --release`");
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        write!(
            f,
            "machine: {} cores ({}), {} file system, sync of 4 KiB p50 {:.3} ms, p99 {:.3} ms{}",
            self.cores,
            self.cpu.clone().unwrap_or_else(unknown),
            self.file_system.clone().unwrap_or_else(unknown),
            self.sync.milliseconds(0.5),
            self.sync.milliseconds(0.99),
            if self.optimised { "" } else { "; DEBUG BUILD: for figures use cargo run --release" }
        )
    }
}

/// Times syncs done as the write-ahead log does them: small writes into reserved space, one after the other.
async fn probe(dir: &Path) -> io::Result<Latencies> {
    let dir = tempfile::Builder::new().prefix("corduroy-probe-").tempdir_in(dir)?;
    let path = dir.path().join("probe");
    let file = RealDisk.create_new(&path)?;
    file.allocate(PROBES * PROBE)?;
    file.sync_all()?;
    let block = vec![0x5a; PROBE as usize];
    let mut latencies = Latencies::new();
    for number in 0..PROBES {
        let start = Instant::now();
        file.write_all_at(number * PROBE, &[&block])?;
        file.sync_data().await?;
        latencies.record(start.elapsed());
    }
    Ok(latencies)
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The type of the file system that holds `dir`, where the system tells.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    type_of(&mounts, &dir).map(str::to_owned)
}

/// Finds `dir` in the table of mounts: the longest mount point above it, the last where several are equal.
fn type_of<'a>(mounts: &'a str, dir: &Path) -> Option<&'a str> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    mounted.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_system_is_that_of_the_closest_mount_point() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n";
        assert_eq!(type_of(mounts, Path::new("/home/a")), Some("ext4"));
        assert_eq!(type_of(mounts, Path::new("/tmp/a")), Some("tmpfs"));
        assert_eq!(type_of(mounts, Path::new("/tmp/disk/a")), Some("xfs"));
        assert_eq!(type_of(mounts, Path::new("/tmpfoo")), Some("ext4"));
    }
}
