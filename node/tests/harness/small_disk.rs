//! A small file system for one data directory, and somebody who fills it.
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// A tmpfs; unmounted when dropped. It has no sync worth the name, so it serves for questions of space only.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one on a directory, which is made.
    ///
    /// # Errors
    /// Why this machine does not let us, for the line that says that a test was skipped.
    pub fn mount(at: &Path, mebibytes: u32) -> Result<Self, String> {
        fs::create_dir_all(at).expect("a temporary directory");
        let size = format!("size={mebibytes}m,mode=0700");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Ok(SmallDisk { at: at.to_owned() }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("mount: {error}")),
        }
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Takes every byte that is free; gives how many that were.
    pub fn fill(&self) -> u64 {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.filler()).expect("room for a name");
        let mut filled = 0;
        // Ever smaller pieces, so that nothing remains.
        for piece in [1 << 20, 4096, 1] {
            loop {
                match filler.write(&vec![0xf1; piece]) {
                    Ok(written) => filled += written as u64,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the filler: {error}"),
                }
            }
        }
        filled
    }

    /// Bytes free.
    pub fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.at).expect("it is mounted");
        space.f_bavail * space.f_frsize
    }

    /// Gives back what was taken.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of a failed test may still be ending in it.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
