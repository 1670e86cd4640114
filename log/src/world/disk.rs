//! Files and directories, with the durability rules of POSIX and nothing stronger.
use std::{fmt, future::Future, io, path::Path};

/// A directory tree.
///
/// **Contract.** Data is durable only after [`DiskFile::sync_data`] (or `sync_all`) of that file returned `Ok`; a name,
/// a rename or a removal only after [`Disk::sync_dir`] of its directory; a directory only after a sync of its parent. An
/// error of any write or sync leaves the state of what was written since the last successful sync unknown: the caller
/// halts, it does not retry. Interrupted and short writes are not errors: implementations continue at the right offset.
pub trait Disk: Clone + fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Held while this process owns the directory; released when dropped or when the process ends.
    type Lock: Send + Sync + fmt::Debug + 'static;

    /// Creates a directory and its missing ancestors, mode 0700, each synced into its parent.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory of that name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Creates a file, mode 0600, open for reading and writing. Fails with `AlreadyExists`.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens an existing file for reading only.
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;
    /// Replaces `to` by `from`, atomically as far as readers are concerned.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on `path` (created when missing). Fails with `WouldBlock` when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;
    /// Bytes free for this process in the file system of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Bytes of that file system that this process could use if it were empty, about: what is free is a share of it.
    fn total_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. Positions are bytes from its start.
#[allow(clippy::len_without_is_empty, reason = "no caller asks whether a file is empty")]
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Writes all of `buffers`, one after the other, from `offset` on.
    fn write_all_at(&self, offset: u64, buffers: &[&[u8]]) -> io::Result<()>;
    /// Fills `buffer` from `offset` on. Fails with `UnexpectedEof` where the file is too short.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// The length of the file.
    fn len(&self) -> io::Result<u64>;
    /// Extends the file to `len` bytes; the new bytes read as zeros. Never shortens.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes all data written before the call durable. The one operation with a latency worth waiting for without a
    /// thread: the real world blocks inside the future (it is polled on the WAL's own thread), the simulated world sleeps.
    fn sync_data(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// `sync_data`, and the file's metadata. Blocks; for creation and rotation.
    fn sync_all(&self) -> io::Result<()>;
}
