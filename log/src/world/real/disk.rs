//! Files and directories of the operating system.
use crate::world::{Disk, DiskFile};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Only the owner may list, enter and change a directory.
const DIRECTORY_MODE: u32 = 0o700;
/// Only the owner may read and write a file.
const FILE_MODE: u32 = 0o600;

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// An open file.
#[derive(Debug)]
pub struct RealFile(File);

/// An exclusive lock on a file; the operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct RealLock {
    _file: File,
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = RealLock;

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            // It may be there because an earlier attempt ended between creating and syncing it.
            return sync_parent(path);
        }
        if let Some(parent) = named_parent(path) {
            self.create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            other => other?,
        }
        sync_parent(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(dir)?
            .map(|entry| {
                entry?
                    .file_name()
                    .into_string()
                    .map_err(|name| io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} is not a UTF-8 name")))
            })
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn create_new(&self, path: &Path) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path).map(RealFile)
    }

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).open(path).map(RealFile)
    }

    fn open_read(&self, path: &Path) -> io::Result<RealFile> {
        File::open(path).map(RealFile)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<RealLock> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(RealLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn total_bytes(&self, path: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(path)?;
        // What only root may use is nobody's here.
        let others = space.f_bfree.saturating_sub(space.f_bavail);
        Ok(space.f_blocks.saturating_sub(others).saturating_mul(space.f_frsize))
    }
}

/// The parent, unless it is the current directory or the root, which exist.
fn named_parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}

/// Makes the name of `path` durable where its parent can be opened. A parent that may be searched but not read (a home
/// directory of a hardened machine) cannot be synced by anyone but its owner.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    match File::open(parent) {
        Ok(parent) => parent.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

impl DiskFile for RealFile {
    fn write_all_at(&self, offset: u64, buffers: &[&[u8]]) -> io::Result<()> {
        write_vectored_at(&self.0, offset, buffers)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let from = self.len()?;
        if from < len { reserve(&self.0, from, len) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    async fn sync_data(&self) -> io::Result<()> {
        // fdatasync on Linux; on macOS the standard library asks the drive to empty its cache (F_FULLFSYNC).
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// One system call for as many buffers as the kernel takes at once; continues after short and interrupted writes.
#[cfg(target_os = "linux")]
fn write_vectored_at(file: &File, mut offset: u64, buffers: &[&[u8]]) -> io::Result<()> {
    use std::io::IoSlice;

    /// What POSIX systems accept in one call (IOV_MAX).
    const MOST_BUFFERS: usize = 1024;

    let mut slices: Vec<IoSlice<'_>> = buffers.iter().filter(|b| !b.is_empty()).map(|b| IoSlice::new(b)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let call = &rest[..rest.len().min(MOST_BUFFERS)];
        match rustix::io::pwritev(file, call, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn write_vectored_at(file: &File, mut offset: u64, buffers: &[&[u8]]) -> io::Result<()> {
    for buffer in buffers {
        file.write_all_at(buffer, offset)?;
        offset += buffer.len() as u64;
    }
    Ok(())
}

/// Extends the file from `from` to `len` bytes of reserved space; falls back to writing zeros where the file system
/// cannot reserve.
#[cfg(target_os = "linux")]
fn reserve(file: &File, from: u64, len: u64) -> io::Result<()> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::Errno,
    };
    loop {
        match fallocate(file, FallocateFlags::empty(), from, len - from) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return write_zeros(file, from, len),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(file: &File, from: u64, len: u64) -> io::Result<()> {
    write_zeros(file, from, len)
}

fn write_zeros(file: &File, from: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < len {
        let chunk = (len - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..chunk as usize], at)?;
        at += chunk;
    }
    Ok(())
}
