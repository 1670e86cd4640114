//! File systems of their own for nodes, on loop devices: disks whose power can be cut.
//!
//! The cut is the file system's own: the shutdown ioctl without a flush of the log. From then on nothing reaches the
//! device, and what was in the page cache or in the journal's memory is gone with the unmount. What it cannot show: torn
//! sectors, and a drive that loses what it confirmed.
//!
//! **Invariant**: nothing stays mounted, however a test ends: dropping unmounts, which frees the loop device, too.
use super::skipped;
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Set where power cuts must be tested: a machine that cannot is then a failed test, not a skipped one.
pub const REQUIRED: &str = "CORDUROY_POWER_CUTS_REQUIRED";

/// Size of a disk. Sparse; XFS wants 300 MiB.
const BYTES: u64 = 512 << 20;

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// With its journal, as it is made by default.
    Ext4,
    /// Likewise.
    Xfs,
}

/// A mounted file system in a file.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    mount_point: PathBuf,
    mounted: bool,
    _dir: TempDir,
}

/// Whether this machine can mount disks and cut their power. Where it cannot, says so loudly on standard error.
///
/// # Panics
/// Where it cannot and [`REQUIRED`] is set.
pub fn can_cut_power() -> bool {
    let tried = [FileSystem::Ext4, FileSystem::Xfs].into_iter().try_for_each(|kind| {
        let mut disk = LoopDisk::new(kind)?;
        disk.cut_power()?;
        disk.power_on()
    });
    let Err(why) = tried else { return true };
    skipped(REQUIRED, &format!("no power cuts: {why}"));
    false
}

impl LoopDisk {
    /// Makes the file system and mounts it.
    pub fn new(kind: FileSystem) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, mount_point) = (dir.path().join("image"), dir.path().join("disk"));
        let made = std::fs::create_dir(&mount_point)
            .and_then(|()| std::fs::File::create_new(&image))
            .and_then(|file| file.set_len(BYTES));
        made.map_err(|error| error.to_string())?;
        match kind {
            FileSystem::Ext4 => tool("mkfs.ext4", &["-q", "-F"], &[&image])?,
            FileSystem::Xfs => tool("mkfs.xfs", &["-q"], &[&image])?,
        }
        let mut disk = LoopDisk { image, mount_point, mounted: false, _dir: dir };
        disk.power_on()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// From now on nothing is written any more, and every attempt fails.
    pub fn cut_power(&self) -> Result<(), String> {
        // -x: also where the file system is not XFS, the ioctl is the same. Without -f the journal is not flushed.
        tool("xfs_io", &["-x", "-c", "shutdown"], &[&self.mount_point])?;
        match std::fs::File::create(self.mount_point.join("after-the-cut")) {
            Ok(_) => Err(format!("a file was made on {} after its power was cut", self.mount_point.display())),
            Err(_) => Ok(()),
        }
    }

    /// Mounts what reached the device. Whatever had files open must have ended.
    pub fn power_on(&mut self) -> Result<(), String> {
        if self.mounted {
            tool("umount", &[], &[&self.mount_point])?;
            self.mounted = false;
        }
        tool("mount", &["-o", "loop"], &[&self.image, &self.mount_point])?;
        self.mounted = true;
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if !self.mounted || tool("umount", &[], &[&self.mount_point]).is_ok() {
            return;
        }
        // Somebody still has a file open: it goes with the last of them.
        if let Err(why) = tool("umount", &["--lazy"], &[&self.mount_point]) {
            let _ = writeln!(io::stderr(), "{} stays mounted: {why}", self.mount_point.display());
        }
    }
}

/// Runs a tool of the system to its end.
fn tool(name: &str, flags: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(name).args(flags).args(paths).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
