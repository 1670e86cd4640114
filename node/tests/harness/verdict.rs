//! The end of a run: come to rest, stop, dump, judge.
use super::{Cluster, Load, PATIENCE, Recorder, dump};
use corduroy_tests::checker::{Expectation, Fault, History, Moment, Progress, Report, check};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use tokio::time::Instant;

/// Faults of a run, as they are put in.
#[derive(Debug, Default)]
pub struct FaultLog {
    faults: Vec<Fault>,
}

impl FaultLog {
    /// A fault begins. It counts as fired once the caller calls [`FaultLog::fired`].
    pub fn begins(&mut self, name: &str, progress: Progress, recorder: &Recorder) {
        let start = recorder.now();
        self.faults.push(Fault { name: name.into(), start, end: Moment(u64::MAX), fired: false, progress });
    }

    /// The last fault was seen to have happened.
    pub fn fired(&mut self) {
        self.faults.last_mut().expect("a fault has begun").fired = true;
    }

    /// The last fault is over.
    pub fn ends(&mut self, recorder: &Recorder) {
        self.faults.last_mut().expect("a fault has begun").end = recorder.now();
    }
}

/// What a run is judged by.
pub struct Verdict {
    /// Partitions of the topic.
    pub partitions: u32,
    /// At least so many acknowledged records in all.
    pub acked: u64,
    /// The faults.
    pub faults: FaultLog,
}

impl Verdict {
    /// Stops the load, waits until all replicas are equally long, stops the nodes cleanly, dumps every replica and
    /// runs the checker.
    ///
    /// # Panics
    /// When any promise was broken; the history is then kept as a file, and named.
    pub async fn judge(self, mut load: Load, mut cluster: Cluster) -> Report {
        load.stop().await;
        settle(&cluster, self.partitions).await;
        cluster.shut_down();
        let mut history = load.recorder.take();
        for node in &cluster.nodes {
            history.replicas.extend((0..self.partitions).map(|partition| dump(node, partition)));
        }
        let expected = Expectation {
            acked: self.acked,
            reads: u64::from(self.partitions) * 3,
            partitions: self.partitions as usize,
            replicas: cluster.nodes.len(),
            percent_acked_outside_faults: 90,
            faults: self.faults.faults,
        };
        let report = check(&history, expected).expect("the load writes down what happened");
        println!("{report}");
        if !report.is_clean() {
            let kept = keep(&history);
            panic!("{report}\nthe history is in {}\n{}", kept.display(), cluster.logs());
        }
        report
    }
}

/// Waits until every replica of every partition has evolved as far as the others.
pub async fn settle(cluster: &Cluster, partitions: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ends = cluster.ends().await;
        if let Ok(ends) = &ends {
            let of = |partition| ends.iter().filter(move |end| end.1 == partition);
            let equal = |partition| of(partition).map(|end| end.2).collect::<BTreeSet<u64>>().len() == 1;
            if (0..partitions).all(|p| of(p).count() == cluster.nodes.len() && equal(p)) {
                return;
            }
        }
        assert!(Instant::now() < deadline, "the replicas do not become equal: {ends:?}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes the history where a person, or another run of the checker, finds it.
fn keep(history: &History) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}.json", std::process::id()));
    let text = serde_json::to_string(history).expect("plain data");
    std::fs::write(&path, text).expect("the target directory is writable");
    path
}
