//! A run: a cluster under load, faults one after the other, and a verdict.
use super::{Cluster, FaultLog, Load, Verdict};
use corduroy_tests::checker::{Progress, Report};

/// Acknowledged records per partition, before, during and after a fault.
const SOME: u64 = 100;

/// A cluster with the topic, and a load that is under way.
pub struct Run {
    /// The cluster.
    pub cluster: Cluster,
    /// The load.
    pub load: Load,
    /// The faults so far.
    pub faults: FaultLog,
    partitions: u32,
}

impl Run {
    /// Starts the nodes that do not run, makes the topic, and waits for the first acknowledged records.
    pub async fn start(mut cluster: Cluster, partitions: u32) -> Self {
        cluster.start_all();
        cluster.create_topic(partitions).await;
        let load = Load::start(&cluster, partitions).await;
        let run = Run { cluster, load, faults: FaultLog::default(), partitions };
        run.progress().await;
        run
    }

    /// Waits until more records of every partition are acknowledged.
    pub async fn progress(&self) {
        self.load.acknowledged(SOME, &self.cluster).await;
    }

    /// The leader of partition 0.
    pub async fn leader(&self) -> u64 {
        self.cluster.leaders(self.partitions).await[0]
    }

    /// A fault begins. It counts once `faults.fired()` says that it was seen.
    pub fn fault_begins(&mut self, name: &str, progress: Progress) {
        self.faults.begins(name, progress, &self.load.recorder);
    }

    /// The last fault is over.
    pub fn fault_ends(&mut self) {
        self.faults.ends(&self.load.recorder);
    }

    /// Work goes on, and then everything is judged.
    pub async fn judged(self) -> Report {
        self.progress().await;
        let Run { cluster, load, faults, partitions } = self;
        let acked = u64::from(partitions) * SOME * 2;
        Verdict { partitions, acked, faults }.judge(load, cluster).await
    }
}
