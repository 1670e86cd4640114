//! A patch file: what it plants, who must catch it, and the diff.
use super::Catcher;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// One file of `tests/mutations`.
///
/// Its first lines say what it is; what follows is a diff with paths from the root of the tree:
/// ```text
/// # M06: cut at the first bad checksum, wherever it is
/// # Caught by: wal-sim
/// diff --git a/log/src/wal/recover.rs b/log/src/wal/recover.rs
/// ```
/// What no simulator does a test may have to catch: `# Caught by: test PACKAGE ARGUMENTS`, as `cargo test -p` takes them.
/// A bug of a dependency names it, and its paths begin at the root of that package: `# Package: quorum-set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where it is.
    pub path: PathBuf,
    /// Number of the planted bug.
    pub id: String,
    /// What is wrong.
    pub title: String,
    /// Who must notice.
    pub catcher: Catcher,
    /// The dependency it changes; none for a bug of our own.
    pub package: Option<String>,
}

impl Patch {
    /// All patches of a directory, by file name.
    ///
    /// # Errors
    /// When the directory or a file cannot be read, or a file does not begin as it should.
    pub fn all(dir: &Path) -> io::Result<Vec<Patch>> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
        paths.sort();
        paths.into_iter().map(Patch::read).collect()
    }

    fn read(path: PathBuf) -> io::Result<Patch> {
        let text = fs::read_to_string(&path)?;
        Patch::parse(path.clone(), &text)
            .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display())))
    }

    fn parse(path: PathBuf, text: &str) -> Result<Patch, String> {
        let mut comments = text.lines().map_while(|line| line.strip_prefix("# "));
        let first = comments.next().ok_or("the first line must be `# Mnn: what is wrong`")?;
        let (id, title) = first.split_once(": ").ok_or("the first line must be `# Mnn: what is wrong`")?;
        let (mut catcher, mut package) = (None, None);
        for line in comments {
            match line.split_once(": ") {
                Some(("Caught by", name)) => catcher = Some(Catcher::named(name)?),
                Some(("Package", name)) => package = Some(name.to_owned()),
                _ => {}
            }
        }
        let catcher = catcher.ok_or("no line `# Caught by: wal-sim` or `sim`")?;
        Ok(Patch { path, id: id.into(), title: title.into(), catcher, package })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Simulator, *};

    #[test]
    fn a_patch_says_what_it_plants_and_who_must_notice() {
        let text = "# M06: cut anywhere\n# Caught by: wal-sim\ndiff --git a/x b/x\n# Package: none of these\n";
        let patch = Patch::parse("m06.patch".into(), text).expect("it is complete");
        assert_eq!((patch.id.as_str(), patch.title.as_str()), ("M06", "cut anywhere"));
        assert_eq!((patch.catcher, patch.package), (Catcher::Simulator(Simulator::Wal), None));
        let text = "# M20: half a snapshot\n# Caught by: test corduroy-log --lib install\n";
        let patch = Patch::parse("m20.patch".into(), text).expect("it is complete");
        assert_eq!(patch.catcher.to_string(), "install");
    }

    #[test]
    fn a_patch_that_does_not_say_who_must_notice_is_refused() {
        let refused = |text: &str| Patch::parse("m.patch".into(), text).expect_err("it is not complete");
        assert!(refused("diff --git a/x b/x\n").contains("first line"));
        assert!(refused("# M06: cut anywhere\n").contains("Caught by"));
        assert!(refused("# M06: cut anywhere\n# Caught by: luck\n").contains("luck"));
        assert!(refused("# M06: cut anywhere\n# Caught by: test tests\n").contains("names no test"));
    }
}
