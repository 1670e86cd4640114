//! The names of the files of checkpoints. Pure.
use crate::topic::PartitionId;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// `<partition>-<index of the last entry>.ckpt`, or `.rows`: sixteen hexadecimal digits, twenty decimal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub kind: Kind,
    pub partition: PartitionId,
    pub index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Checkpoint,
    Table,
}

impl Kind {
    fn extension(self) -> &'static str {
        match self {
            Kind::Checkpoint => "ckpt",
            Kind::Table => "rows",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:020}.{}", self.partition.0, self.index, self.kind.extension())
    }
}

/// Added to the name of a file that is being written.
const UNFINISHED: &str = ".new";
/// Added to the name of one that cannot be read.
const ASIDE: &str = ".damaged";

impl Name {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (stem, extension) = name.split_once('.')?;
        let kind = [Kind::Checkpoint, Kind::Table].into_iter().find(|kind| kind.extension() == extension)?;
        let (partition, index) = stem.split_once('-')?;
        let partition = PartitionId(u64::from_str_radix(partition, 16).ok()?);
        let found = Name { kind, partition, index: index.parse().ok()? };
        (found.to_string() == name).then_some(found)
    }

    pub(super) fn unfinished(path: &Path) -> PathBuf {
        with(path, UNFINISHED)
    }

    /// Whether it is left of one that was being written.
    pub(super) fn is_unfinished(name: &str) -> bool {
        name.strip_suffix(UNFINISHED).is_some_and(|name| Name::parse(name).is_some())
    }

    pub(super) fn set_aside(path: &Path) -> PathBuf {
        with(path, ASIDE)
    }

    /// Whether it is one that could not be read, kept as evidence.
    pub(super) fn is_set_aside(name: &str) -> bool {
        name.strip_suffix(ASIDE).is_some_and(|name| Name::parse(name).is_some())
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
