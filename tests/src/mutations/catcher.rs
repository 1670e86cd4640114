//! What must notice a planted bug.
use std::fmt;

/// A simulator, or a test for what no simulator does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Catcher {
    /// A program that runs seeds.
    Simulator(Simulator),
    /// Tests that pass as long as nothing is planted.
    Test(Test),
}

/// A simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulator {
    /// Storage and recovery of one node.
    Wal,
    /// A whole cluster.
    Cluster,
    /// A cluster that carries services.
    Shop,
}

/// Tests, as `cargo test` is told which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The package they are in.
    pub package: String,
    /// What else, `--lib` say, and in the end a part of their names.
    pub arguments: Vec<String>,
}

impl Simulator {
    /// Name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Simulator::Wal => "wal-sim",
            Simulator::Cluster => "sim",
            Simulator::Shop => "shop-sim",
        }
    }
}

impl Catcher {
    /// By the name of a simulator, or as `test PACKAGE ARGUMENTS`.
    pub(super) fn named(name: &str) -> Result<Catcher, String> {
        if let Some(test) = name.strip_prefix("test ") {
            let mut words = test.split_whitespace().map(str::to_owned);
            let test = words.next().map(|package| Test { package, arguments: words.collect() });
            let test = test.filter(|test| !test.arguments.is_empty());
            return test.map(Catcher::Test).ok_or_else(|| format!("`{test:?}` names no test", test = name));
        }
        [Simulator::Wal, Simulator::Cluster, Simulator::Shop]
            .into_iter()
            .find(|simulator| simulator.name() == name)
            .map(Catcher::Simulator)
            .ok_or_else(|| format!("there is no simulator `{name}`"))
    }
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Catcher::Simulator(simulator) => f.write_str(simulator.name()),
            Catcher::Test(test) => f.write_str(test.arguments.last().map_or("", String::as_str)),
        }
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

    /// Reads what tests printed: the first that failed, if one did.
    ///
    /// # Errors
    /// When none was run.
    pub fn of_tests(output: &str) -> Result<Option<Catch>, String> {
        let results = || output.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
        if results().next().is_none() {
            return Err("no test was run".into());
        }
        let failed = results().find(|(_, result)| result.starts_with("FAILED"));
        Ok(failed.map(|(name, _)| Catch { seed: 0, seeds: 1, violation: format!("{name} fails") }))
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
        let tests = "test a::b ... ok\ntest a::c ... FAILED\ntest result: FAILED. 1 passed; 1 failed;\n";
        let caught = Catch::of_tests(tests).expect("tests were run").expect("one has failed");
        assert_eq!(caught.violation, "a::c fails");
        assert_eq!(Catch::of_tests("test a::b ... ok\n").expect("one was run"), None);
        assert!(Catch::of_tests("running 0 tests\n").is_err(), "what is not run shows nothing");
        assert!(Catch::parse("").is_err(), "silence is not success");
        assert!(Catch::parse("error: unexpected argument\n").is_err());
    }
}
