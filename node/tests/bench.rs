//! `corduroy bench` in short forms: that it does what it says, and leaves nothing behind. No figure is judged here.
mod harness;

use harness::{corduroy, machine, wait_until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::{fs, path::Path, process::Stdio};
use tempfile::TempDir;

/// Runs a bench in a folder that must be empty afterwards; returns what it printed.
fn bench(arguments: &[&str]) -> Value {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut command = corduroy();
    command.arg("bench").args(arguments).args(["--format", "json", "--data"]).arg(dir.path());
    let output = command.output().expect("the binary was built for this test");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench {arguments:?}: {}\n{said}", output.status);
    assert_empty(dir.path());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("bench {arguments:?}: {error}\n{said}"))
}

fn assert_empty(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// One scenario of `bench partition` under a light load: its outcome, whose load was acknowledged and found everywhere.
fn partition(scenario: &str) -> Value {
    let short = ["--warm-up", "1", "--baseline", "1", "--fault", "2", "--recovery", "2", "--rate", "300"];
    let arguments = [&["partition", "--scenario", scenario, "--partitions", "4", "--batch", "3"][..], &short].concat();
    let mut report = bench(&arguments);
    assert_eq!(
        (&report["bench"], &report["nodes"], &report["partitions"]),
        (&"partition".into(), &3.into(), &4.into())
    );
    let outcome = report["scenarios"][0].take();
    assert_eq!(outcome["scenario"], scenario);
    let records = &outcome["records"];
    let count = |name: &str| records[name].as_u64().expect("a number");
    assert!(count("acknowledged") > 300, "{records}");
    assert_eq!(count("sent"), ["acknowledged", "refused", "unknown", "withheld"].map(count).iter().sum::<u64>());
    let checked = &outcome["checked"];
    assert_eq!(checked["replicas"], 12);
    assert!(checked["records"].as_u64() >= Some(3 * count("acknowledged")), "{checked} {records}");
    for broken in ["lost", "doubled", "misplaced", "phantom", "refusedAndThere", "differing"] {
        assert_eq!(checked[broken], 0, "{checked}");
    }
    let acked = outcome["timeline"]["acked"].as_array().expect("a list");
    assert!(acked.len() >= 49, "five seconds in steps of 100 ms: {}", acked.len());
    assert!(acked.iter().filter_map(Value::as_u64).sum::<u64>() <= count("acknowledged"), "the warm-up is not in it");
    outcome
}

/// The proofs of a fault, all of them shown.
fn proofs(outcome: &Value) -> Vec<&str> {
    let proofs = outcome["proofs"].as_array().expect("a list");
    assert!(proofs.iter().all(|proof| proof["shown"] == true), "{proofs:?}");
    proofs.iter().filter_map(|proof| proof["what"].as_str()).collect()
}

#[test]
fn a_leader_killed_under_load_is_proved_dead_and_takes_nothing_with_it() {
    let outcome = partition("leader-killed");
    assert!(outcome["led"].as_u64() > Some(0), "{}", outcome["led"]);
    let proofs = proofs(&outcome);
    assert!(
        matches!(&proofs[..], [one] if one.contains("was killed by SIGKILL") && one.contains("started again as")),
        "{proofs:?}"
    );
}

#[test]
fn a_leader_cut_off_from_everybody_is_proved_cut_off_and_takes_nothing_with_it() {
    let outcome = partition("leader-dark");
    let victim = outcome["victim"].as_u64().expect("a node");
    let proofs = proofs(&outcome);
    assert_eq!(proofs.len(), 5, "two ways to each of two nodes, and the clients: {proofs:?}");
    assert!(proofs[..4].iter().all(|proof| proof.contains(", cut: ")), "{proofs:?}");
    assert!(proofs[4].starts_with(&format!("clients and node {victim}: ")), "{proofs:?}");
}

#[test]
fn a_cluster_whose_leader_is_mute_still_speaks_to_it() {
    let outcome = partition("leader-mute");
    let victim = outcome["victim"].as_u64().expect("a node");
    for proof in proofs(&outcome) {
        let from_victim = proof.starts_with(&format!("node {victim} to "));
        assert_eq!(proof.contains(", cut: "), from_victim, "{proof}");
        assert_eq!(proof.contains(", whole: 0 bytes held"), !from_victim, "{proof}");
    }
}

#[test]
fn every_other_bench_runs_and_says_what_it_measured() {
    let latency = bench(&["latency", "--seconds", "1", "--rate", "100"]);
    assert!(latency["grpcOtherProcessMs"]["count"].as_u64() >= Some(90), "{latency}");
    assert!(latency["sentLateMs"]["count"].as_u64() >= Some(270), "{latency}");
    let read = bench(&["read", "--seconds", "1", "--records", "100000", "--subscribers", "1", "--rate", "50"]);
    assert_eq!(read["rows"].as_array().map(Vec::len), Some(4), "{read}");
    assert_eq!(read["seenMs"]["count"], 50, "{read}");
    let cursors = bench(&["cursors", "--seconds", "1", "--cursors", "8,70", "--in-flight", "8"]);
    assert_eq!((&cursors["misplaced"], &cursors["rows"][1]["cursors"]), (&0.into(), &70.into()), "{cursors}");
    let failover = bench(&["failover", "--rounds", "1", "--partitions", "3", "--how", "stopped"]);
    assert_eq!((&failover["lost"], &failover["how"]), (&0.into(), &"stopped".into()), "{failover}");
    assert_eq!(failover["gapMs"]["count"], failover["electedMs"]["count"], "{failover}");
    let restart = bench(&["restart", "--nodes", "1", "--bytes", "2MiB", "--rounds", "1", "--partitions", "2"]);
    assert_eq!(restart["rows"].as_array().map(Vec::len), Some(2), "{restart}");
    let growth = bench(&["growth", "--partitions", "1,2", "--seconds", "1"]);
    assert!(growth["rows"][1]["recordsPerSecond"].as_u64() > Some(0), "{growth}");
    let idle = bench(&["idle", "--partitions", "2", "--seconds", "1"]);
    assert_eq!(idle["partitions"], 2, "{idle}");
}

/// The process ids of nodes whose folder is below a directory, by their command lines.
fn nodes_below(dir: &TempDir) -> Vec<Pid> {
    let below = dir.path().display().to_string();
    let processes = fs::read_dir("/proc").expect("there is one");
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_node = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("\0node\0") && line.contains(&below)
    };
    ids.filter(is_node).filter_map(Pid::from_raw).collect()
}

#[test]
fn an_interrupted_bench_leaves_no_process_and_no_folder() {
    let _machine = machine();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut command = corduroy();
    command.args(["bench", "partition", "--scenario", "leader", "--data"]).arg(dir.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary was built");
    let nodes = wait_until("three nodes", || {
        let nodes = nodes_below(&dir);
        if nodes.len() == 3 { Ok(nodes) } else { Err(format!("{nodes:?}")) }
    });
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
    kill_process(pid, Signal::INT).expect("it is our child and was not waited for");
    let status = child.wait().expect("it is our child");
    assert_eq!(status.code(), Some(130));
    assert!(nodes.iter().all(|node| test_kill_process(*node).is_err()), "a node lives on");
    assert_empty(dir.path());
}
