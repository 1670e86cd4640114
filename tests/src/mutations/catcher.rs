//! The programs that must notice a planted bug.
use std::fmt;

/// A simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catcher {
    /// Storage and recovery of one node.
    WalSim,
    /// A whole cluster.
    Sim,
}

impl Catcher {
    /// Name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Catcher::WalSim => "wal-sim",
            Catcher::Sim => "sim",
        }
    }

    pub(super) fn named(name: &str) -> Result<Catcher, String> {
        [Catcher::WalSim, Catcher::Sim]
            .into_iter()
            .find(|catcher| catcher.name() == name)
            .ok_or_else(|| format!("there is no simulator `{name}`"))
    }
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a run of a simulator found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// The seed that showed it.
    pub seed: u64,
    /// Seeds run until then, that one included.
    pub seeds: u64,
    /// What was violated.
    pub violation: String,
}

impl Catch {
    /// Reads the last line a simulator prints: `caught: seed 17 after 4 seeds: an acknowledged entry is gone`, or
    /// `clean: 1000 seeds, ...`, which is no catch.
    ///
    /// # Errors
    /// When it is neither: the run ended in another way than it should, and proves nothing.
    pub fn parse(output: &str) -> Result<Option<Catch>, String> {
        let last = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if last.starts_with("clean: ") {
            return Ok(None);
        }
        let parse = || {
            let rest = last.strip_prefix("caught: seed ")?;
            let (seed, rest) = rest.split_once(" after ")?;
            let (seeds, violation) = rest.split_once(" seeds: ")?;
            Some(Catch { seed: seed.parse().ok()?, seeds: seeds.parse().ok()?, violation: violation.into() })
        };
        parse().map(Some).ok_or_else(|| format!("the simulator ended with neither a catch nor a clean run: {last:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_simulator_is_understood() {
        let caught = Catch::parse("seed 16: fine\ncaught: seed 17 after 4 seeds: entry 3: gone\n\n").expect("a catch");
        assert_eq!(caught, Some(Catch { seed: 17, seeds: 4, violation: "entry 3: gone".into() }));
        assert_eq!(Catch::parse("clean: 1000 seeds, 900 per minute\n").expect("clean"), None);
        assert!(Catch::parse("").is_err(), "silence is not success");
        assert!(Catch::parse("error: unexpected argument\n").is_err());
    }
}
