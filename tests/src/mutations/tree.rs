//! The scratch copy of the tree that planted bugs are put into. The tree itself is never touched.
use super::{Catch, Catcher, Patch, Simulator, Test};
use std::{
    collections::BTreeSet,
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A scratch copy under `target/mutations`, with its own build directory that is kept from one patch to the next.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    copy: PathBuf,
    vendored: PathBuf,
    build: PathBuf,
}

impl Tree {
    /// Copies what git tracks in the tree at `root`.
    ///
    /// # Errors
    /// When git or the file system refuses.
    pub fn copy_of(root: &Path) -> io::Result<Tree> {
        let home = root.join("target").join("mutations");
        let tree = Tree {
            root: root.into(),
            copy: home.join("tree"),
            vendored: home.join("vendor"),
            build: home.join("target"),
        };
        tree.restore()?;
        Ok(tree)
    }

    /// Makes the copy equal to the tree again. Files that are equal are left alone, so that builds stay small.
    ///
    /// # Errors
    /// As [`Tree::copy_of`].
    pub fn restore(&self) -> io::Result<()> {
        let listed = run(Command::new("git").args(["ls-files", "-z"]).current_dir(&self.root))?;
        let names: BTreeSet<String> = String::from_utf8_lossy(&listed.stdout)
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect();
        // A file deleted and not yet committed is listed and not there.
        for name in names.iter().filter(|name| self.root.join(name).is_file()) {
            let (from, to) = (self.root.join(name), self.copy.join(name));
            let wanted = fs::read(from)?;
            if fs::read(&to).ok().as_ref() != Some(&wanted) {
                fs::create_dir_all(to.parent().unwrap_or(&self.copy))?;
                fs::write(&to, wanted)?;
            }
        }
        self.prune(&self.copy, &names)
    }

    /// Removes what the copy has in a folder and the tree has not, or has no more.
    fn prune(&self, dir: &Path, names: &BTreeSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            let name = path.strip_prefix(&self.copy).map_err(io::Error::other)?.to_string_lossy();
            if entry.file_type()?.is_dir() {
                self.prune(&path, names)?;
            } else if !names.contains(&*name) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Plants a bug. [`Tree::restore`] takes it out again.
    ///
    /// # Errors
    /// When the patch does not apply exactly.
    pub fn plant(&self, patch: &Patch) -> io::Result<()> {
        let dir = match &patch.package {
            None => self.copy.clone(),
            Some(package) => self.vendor(package)?,
        };
        let mut apply = Command::new("git");
        // The copy is below a repository and no part of it: git must not look for one.
        apply.env("GIT_CEILING_DIRECTORIES", dir.parent().unwrap_or(&dir));
        run(apply.arg("apply").arg(fs::canonicalize(&patch.path)?).current_dir(dir)).map(drop)
    }

    /// Puts the source of a dependency beside the copy and makes the copy use it.
    fn vendor(&self, package: &str) -> io::Result<PathBuf> {
        let mut metadata = Command::new(env!("CARGO"));
        metadata.args(["metadata", "--format-version=1", "--locked"]).current_dir(&self.root);
        let metadata: serde_json::Value = serde_json::from_slice(&run(&mut metadata)?.stdout)?;
        let packages = metadata["packages"].as_array().map_or(&[] as &[_], Vec::as_slice);
        let manifest =
            packages.iter().find(|found| found["name"] == package).and_then(|found| found["manifest_path"].as_str());
        let manifest = manifest.ok_or_else(|| io::Error::other(format!("there is no dependency `{package}`")))?;
        let source = Path::new(manifest).parent().unwrap_or(Path::new("/"));
        let to = self.vendored.join(package);
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        copy_dir(source, &to)?;
        let manifest = self.copy.join("Cargo.toml");
        let line = format!("\n[patch.crates-io]\n{package} = {{ path = \"{}\" }}\n", to.display());
        fs::write(&manifest, fs::read_to_string(&manifest)? + &line)?;
        Ok(to)
    }

    /// Builds a simulator, or tests, from the copy as it is.
    ///
    /// # Errors
    /// When it does not build: then nothing was planted that could be caught.
    pub fn build(&self, catcher: &Catcher) -> io::Result<()> {
        match catcher {
            Catcher::Simulator(simulator) => {
                let mut build = Command::new(env!("CARGO"));
                build.args(["build", "--quiet", "--offline", "-p", "tests", "--bin", simulator.name()]);
                run(build.env("CARGO_TARGET_DIR", &self.build).current_dir(&self.copy)).map(drop)
            }
            Catcher::Test(test) => run(self.test(test).arg("--no-run")).map(drop),
        }
    }

    fn test(&self, test: &Test) -> Command {
        let mut run = Command::new(env!("CARGO"));
        run.args(["test", "--offline", "-p", &test.package]).args(&test.arguments);
        run.env("CARGO_TARGET_DIR", &self.build).current_dir(&self.copy);
        run
    }

    /// Runs tests that were built, and says which failed, if one did.
    ///
    /// # Errors
    /// When none of that name is there.
    pub fn try_tests(&self, test: &Test) -> io::Result<Option<Catch>> {
        let output = self.test(test).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        Catch::of_tests(&String::from_utf8_lossy(&output.stdout)).map_err(io::Error::other)
    }

    /// Runs the simulator that was built, from a first seed, until it catches something or has run `seeds` of them.
    ///
    /// # Errors
    /// When it ends in any other way.
    pub fn catch(&self, simulator: Simulator, bug: Option<&str>, from: u64, seeds: u64) -> io::Result<Option<Catch>> {
        let mut program = Command::new(self.build.join("debug").join(simulator.name()));
        program.args(["--from", &from.to_string(), "--seeds", &seeds.to_string()]);
        if let Some(bug) = bug {
            program.args(["--bug", bug]);
        }
        let output = program.stdin(Stdio::null()).stderr(Stdio::null()).current_dir(&self.copy).output()?;
        Catch::parse(&String::from_utf8_lossy(&output.stdout)).map_err(io::Error::other)
    }
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &to)?;
        } else {
            fs::write(&to, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Runs a command; anything but success is an error that carries what it said.
fn run(command: &mut Command) -> io::Result<Output> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?} failed ({}):\n{said}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_leaves_the_tree_leaves_the_copy() {
        let dir = tempfile::tempdir().expect("there is room");
        let git =
            |arguments: &[&str]| run(Command::new("git").args(arguments).current_dir(dir.path())).expect("git works");
        git(&["init", "--quiet"]);
        fs::create_dir(dir.path().join("src")).expect("the directory takes it");
        for name in ["kept", "src/gone"] {
            fs::write(dir.path().join(name), name).expect("the directory takes it");
        }
        git(&["add", "kept", "src/gone"]);
        let tree = Tree::copy_of(dir.path()).expect("it is a tree");
        assert!(tree.copy.join("src/gone").exists());
        git(&["rm", "--quiet", "--cached", "src/gone"]);
        fs::write(tree.copy.join("kept"), "changed by a patch").expect("the directory takes it");
        fs::write(tree.copy.join("made"), "by a patch").expect("the directory takes it");
        tree.restore().expect("it can be read");
        let left = |name: &str| fs::read_to_string(tree.copy.join(name)).ok();
        assert_eq!((left("kept").as_deref(), left("src/gone"), left("made")), (Some("kept"), None, None));
    }
}
