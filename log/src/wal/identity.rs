//! Who a data directory belongs to, in three copies, and who has it open.
//!
//! ```text
//! DIR/LOCK          held by the process that has it open
//! DIR/DATA_LOSS     a peer has refused this directory as lost or older: it is never opened again
//! DIR/identity.1    ┐ cluster, node, incarnation, boot epoch, joined;
//! DIR/identity.2    │ written one after the other, each by side file,
//! DIR/identity.3    ┘ sync, rename, sync of the folder
//! DIR/wal/          segments
//! ```
//!
//! Which copy holds is the business of `copies`; where none does, the node halts.
//!
//! **Invariant**: the incarnation never changes, and the boot epoch is higher at each open than at any before, durably,
//! before anyone learns of it. Peers remember both: a directory that comes back with less is a restored backup.
use super::{
    copies::{self, Copied, Missing},
    frame::{id_at, u32_at, u64_at},
    manifest::Manifest,
    recover::{disk_failed, io_error},
    segment::{parse_name, wal_dir},
};
use crate::{
    error::OpenError,
    topic::{ClusterId, NodeId},
    world::{Disk, DiskFile, Halt},
};
use std::{io, path::Path};

const LOCK: &str = "LOCK";
const LOST: &str = "DATA_LOSS";
/// Of the text in the file that says so.
const LOST_TEXT: usize = 1024;
const MAGIC: [u8; 4] = *b"CDID";
const VERSION: u8 = 1;
/// Bytes of a copy.
pub(crate) const IDENTITY_LEN: usize = 80;

/// Who a data directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Drawn when the directory was made.
    pub incarnation: [u8; 16],
    /// How often the directory was opened, this time included.
    pub boot_epoch: u64,
    /// Whether the node has taken part in its cluster. From then on its log must not go away.
    pub joined: bool,
    /// Number of the change.
    revision: u64,
}

impl Identity {
    /// Opens a data directory for writing: creates and locks it, makes or checks its identity, raises the boot epoch.
    /// `fresh_incarnation` is used where the directory is new.
    ///
    /// # Errors
    /// [`OpenError::Locked`] where another process has it open. `WrongIdentity` where it belongs to another node or
    /// cluster, or is not a data directory at all. `DataLoss` where part of it is gone. `Corrupt` where no two copies of
    /// the identity agree. `DiskFailed` where a write or sync failed.
    pub fn open<D: Disk>(
        disk: &D,
        dir: &Path,
        cluster: ClusterId,
        node: NodeId,
        fresh_incarnation: [u8; 16],
    ) -> Result<(Identity, D::Lock), OpenError> {
        refuse_foreign(disk, dir)?;
        disk.create_dir_all(dir).map_err(disk_failed("create", dir))?;
        let lock = lock(disk, dir)?;
        refuse_lost(disk, dir)?;
        let mut identity = match copies::read::<Identity, D>(disk, dir)? {
            Ok(held) => {
                let identity = held.check(disk, dir, cluster, node)?;
                copies::write(disk, dir, &identity, &mut || ()).map_err(disk_failed("write the identity in", dir))?;
                identity
            }
            Err(Missing::Absent | Missing::Unfinished) => {
                if has_segments(disk, dir)? {
                    let detail = format!("{} holds a log but no identity", dir.display());
                    return Err(OpenError::Halt(Halt::DataLoss(detail)));
                }
                Identity { cluster, node, incarnation: fresh_incarnation, boot_epoch: 0, joined: false, revision: 0 }
            }
            Err(Missing::Damaged(what)) => return Err(OpenError::Halt(Halt::Corrupt(what))),
        };
        identity.boot_epoch += 1;
        identity.store(disk, dir).map_err(disk_failed("write the identity in", dir))?;
        Ok((identity, lock))
    }

    /// Reads the identity of a data directory and changes nothing. For tools; the directory may be in use.
    ///
    /// # Errors
    /// `WrongIdentity` where there is none, `Corrupt` where no two copies agree.
    pub fn read<D: Disk>(disk: &D, dir: &Path) -> Result<Identity, OpenError> {
        if !disk.exists(dir).map_err(io_error("cannot look for", dir))? {
            return Err(not_ours(dir));
        }
        copies::read(disk, dir)?.map_err(|missing| match missing {
            Missing::Absent | Missing::Unfinished => not_ours(dir),
            Missing::Damaged(what) => OpenError::Halt(Halt::Corrupt(what)),
        })
    }

    /// Records that the node takes part in its cluster. Durable when it returns; an error must halt the node.
    pub fn set_joined<D: Disk>(&mut self, disk: &D, dir: &Path) -> io::Result<()> {
        if self.joined {
            return Ok(());
        }
        self.joined = true;
        self.store(disk, dir)
    }

    fn check<D: Disk>(self, disk: &D, dir: &Path, cluster: ClusterId, node: NodeId) -> Result<Identity, OpenError> {
        if (self.cluster, self.node) != (cluster, node) {
            return Err(OpenError::Halt(Halt::WrongIdentity(format!(
                "{} belongs to node {} of cluster {}, this is node {node} of cluster {cluster}",
                dir.display(),
                self.node,
                self.cluster
            ))));
        }
        if self.joined && !has_segments(disk, dir)? {
            let detail = format!("{} belongs to a node that has joined its cluster, and holds no log", dir.display());
            return Err(OpenError::Halt(Halt::DataLoss(detail)));
        }
        Ok(self)
    }

    fn store<D: Disk>(&mut self, disk: &D, dir: &Path) -> io::Result<()> {
        self.revision += 1;
        copies::write(disk, dir, self, &mut || ())
    }
}

impl Copied for Identity {
    const WHAT: &'static str = "identity";
    const NAMES: [&'static str; 3] = ["identity.1", "identity.2", "identity.3"];
    const LEN: usize = IDENTITY_LEN;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; IDENTITY_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.joined.into();
        bytes[8..16].copy_from_slice(&self.revision.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.0);
        bytes[32..40].copy_from_slice(&self.node.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.incarnation);
        bytes[56..64].copy_from_slice(&self.boot_epoch.to_le_bytes());
        // 64..76: reserved.
        let crc = crc32c::crc32c(&bytes[..IDENTITY_LEN - 4]);
        bytes[IDENTITY_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Identity> {
        let intact = bytes.len() == IDENTITY_LEN
            && bytes[0..4] == MAGIC
            && crc32c::crc32c(&bytes[..IDENTITY_LEN - 4]) == u32_at(bytes, IDENTITY_LEN - 4)
            && bytes[4] == VERSION
            && bytes[5] <= 1
            && bytes[6..8].iter().chain(&bytes[64..76]).all(|&reserved| reserved == 0);
        intact.then(|| Identity {
            joined: bytes[5] == 1,
            revision: u64_at(bytes, 8),
            cluster: ClusterId(id_at(bytes, 16)),
            node: u64_at(bytes, 32),
            incarnation: id_at(bytes, 40),
            boot_epoch: u64_at(bytes, 56),
        })
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn is_kin_of(&self, other: &Self) -> bool {
        (self.cluster, self.node, self.incarnation) == (other.cluster, other.node, other.incarnation)
    }
}

/// Writes down that this directory must not be used again, and why. An older copy of a directory writes a little at each
/// start; without this it could, started often enough, have as much again as its peers were told of.
pub(crate) fn mark_lost<D: Disk>(disk: &D, dir: &Path, why: &str) -> io::Result<()> {
    let path = dir.join(LOST);
    if disk.exists(&path)? {
        return Ok(());
    }
    let file = disk.create_new(&path)?;
    // The name alone says it; there may be no room for the reason.
    let text = &why.as_bytes()[..why.len().min(LOST_TEXT)];
    let written = file.write_all_at(0, &[text]).and_then(|()| file.sync_all());
    disk.sync_dir(dir)?;
    written
}

fn refuse_lost<D: Disk>(disk: &D, dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(LOST);
    if !disk.exists(&path).map_err(io_error("cannot look for", &path))? {
        return Ok(());
    }
    let mut why = vec![0; LOST_TEXT];
    let read = disk.open_read(&path).and_then(|file| {
        why.truncate(file.len()?.min(LOST_TEXT as u64) as usize);
        file.read_exact_at(0, &mut why)
    });
    let why = read.map_or_else(|error| error.to_string(), |()| String::from_utf8_lossy(&why).into_owned());
    Err(OpenError::Halt(Halt::DataLoss(format!(
        "{} says that this directory was refused before: {why}",
        path.display()
    ))))
}

/// Takes the lock of a data directory, which exists.
pub(crate) fn lock<D: Disk>(disk: &D, dir: &Path) -> Result<D::Lock, OpenError> {
    let path = dir.join(LOCK);
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(dir.to_path_buf()),
        _ => io_error("cannot lock", &path)(error),
    })
}

/// Refuses a directory that has files and none of them an identity, before anything is created in it.
fn refuse_foreign<D: Disk>(disk: &D, dir: &Path) -> Result<(), OpenError> {
    if !disk.exists(dir).map_err(io_error("cannot look for", dir))? {
        return Ok(());
    }
    let names = disk.list(dir).map_err(io_error("cannot list", dir))?;
    if names.iter().any(|name| Identity::NAMES.contains(&name.as_str())) {
        return Ok(());
    }
    let ours = |name: &String| {
        // A file system's own folder is nobody's data.
        copies::is_copy::<Identity>(name)
            || copies::is_copy::<Manifest>(name)
            || name == LOCK
            || name == "wal"
            || name == "checkpoints"
            || name == "views"
            || name == "lost+found"
    };
    if names.iter().all(ours) { Ok(()) } else { Err(not_ours(dir)) }
}

fn not_ours(dir: &Path) -> OpenError {
    OpenError::Halt(Halt::WrongIdentity(format!("{} is not a Corduroy data directory", dir.display())))
}

/// Whether there is any segment.
fn has_segments<D: Disk>(disk: &D, dir: &Path) -> Result<bool, OpenError> {
    let wal = wal_dir(dir);
    if !disk.exists(&wal).map_err(io_error("cannot look for", &wal))? {
        return Ok(false);
    }
    let names = disk.list(&wal).map_err(io_error("cannot list", &wal))?;
    Ok(names.iter().any(|name| parse_name(name).is_some()))
}
