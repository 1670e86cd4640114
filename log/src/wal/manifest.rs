//! Which segments there must be, in three copies: a log that lost its newest segment looks like one that never had it.
//!
//! **Invariant**: a segment is in the manifest before its first batch counts, and is durable before it is in the manifest.
//! So the newest segment found is that of the manifest, or the one after it; never an older one.
use super::{
    copies::{self, Copied, Missing},
    frame::{id_at, u32_at, u64_at},
};
use crate::{
    error::OpenError,
    topic::{ClusterId, NodeId},
    world::{Disk, Halt},
};
use std::{io, path::Path};

const MAGIC: [u8; 4] = *b"CDMF";
const VERSION: u8 = 1;
/// Bytes of a copy.
pub(crate) const MANIFEST_LEN: usize = 80;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Number of the newest segment; 0 where there is none yet.
    pub newest: u64,
    revision: u64,
}

impl Copied for Manifest {
    const WHAT: &'static str = "manifest";
    const NAMES: [&'static str; 3] = ["manifest.1", "manifest.2", "manifest.3"];
    const LEN: usize = MANIFEST_LEN;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; MANIFEST_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        // 5..8: reserved.
        bytes[8..16].copy_from_slice(&self.revision.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.0);
        bytes[32..40].copy_from_slice(&self.node.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.newest.to_le_bytes());
        // 48..76: reserved, for the number of quarantined spans among it (R10).
        let crc = crc32c::crc32c(&bytes[..MANIFEST_LEN - 4]);
        bytes[MANIFEST_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Manifest> {
        let intact = bytes.len() == MANIFEST_LEN
            && bytes[0..4] == MAGIC
            && crc32c::crc32c(&bytes[..MANIFEST_LEN - 4]) == u32_at(bytes, MANIFEST_LEN - 4)
            && bytes[4] == VERSION;
        intact.then(|| Manifest {
            cluster: ClusterId(id_at(bytes, 16)),
            node: u64_at(bytes, 32),
            newest: u64_at(bytes, 40),
            revision: u64_at(bytes, 8),
        })
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn is_kin_of(&self, other: &Self) -> bool {
        (self.cluster, self.node) == (other.cluster, other.node)
    }
}

/// What the copies say, and whether this process has written all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    manifest: Manifest,
    written: bool,
}

impl Held {
    /// Compares the manifest with the number of the newest segment there is, 0 for none.
    ///
    /// # Errors
    /// `DataLoss` where segments are missing that had been begun, `Corrupt` where the manifest is damaged or older than any
    /// crash makes it, `WrongIdentity` where it is another node's.
    pub(crate) fn check<D: Disk>(
        disk: &D,
        dir: &Path,
        cluster: ClusterId,
        node: NodeId,
        found: u64,
    ) -> Result<Held, OpenError> {
        let manifest = match copies::read(disk, dir)? {
            Ok(held) => held,
            Err(Missing::Absent | Missing::Unfinished) => Manifest { cluster, node, newest: 0, revision: 0 },
            Err(Missing::Damaged(what)) => return Err(OpenError::Halt(Halt::Corrupt(what))),
        };
        let halt = if (manifest.cluster, manifest.node) != (cluster, node) {
            Halt::WrongIdentity(format!(
                "the manifest in {} belongs to node {} of cluster {}, this is node {node} of cluster {cluster}",
                dir.display(),
                manifest.node,
                manifest.cluster
            ))
        } else if found < manifest.newest {
            Halt::DataLoss(format!(
                "{} held segments up to {}, the newest there is now is {found}",
                dir.display(),
                manifest.newest
            ))
        } else if found - manifest.newest > 1 {
            Halt::Corrupt(format!(
                "the manifest in {} knows segments up to {}, the newest there is is {found}",
                dir.display(),
                manifest.newest
            ))
        } else {
            return Ok(Held { manifest, written: false });
        };
        Err(OpenError::Halt(halt))
    }

    /// Records that the segment is there. Durable when it returns; an error must halt the node. `written` is called after
    /// each copy.
    pub(crate) fn advance<D: Disk>(
        &mut self,
        disk: &D,
        dir: &Path,
        newest: u64,
        written: &mut dyn FnMut(),
    ) -> io::Result<()> {
        if !self.written && self.manifest.revision > 0 {
            copies::write(disk, dir, &self.manifest, written)?;
        }
        self.written = true;
        if self.manifest.newest == newest {
            return Ok(());
        }
        self.manifest.newest = newest;
        self.manifest.revision += 1;
        copies::write(disk, dir, &self.manifest, written)
    }

    #[cfg(test)]
    pub(crate) fn new(cluster: ClusterId, node: NodeId) -> Held {
        Held { manifest: Manifest { cluster, node, newest: 0, revision: 0 }, written: false }
    }
}
