//! Afterwards: whether every acknowledged record is on every replica, once, at its offset.
use super::{
    super::{
        cluster::Cluster,
        judge::{Verdict, judge},
        lanes::{Lane, read_back},
    },
    ledger::Ledger,
};
use crate::cli::exit::Failure;
use corduroy_client::Admin;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Replicas have this long to agree.
const SETTLE: Duration = Duration::from_secs(60);
/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What was found on all replicas together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checked {
    /// Replicas read.
    pub(super) replicas: u64,
    /// Records read from them.
    pub(super) records: u64,
    /// Lanes whose replicas are not equal, record by record.
    pub(super) differing: u64,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

impl Checked {
    pub(super) fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.differing == 0
    }

    /// Judges what one lane's replicas hold.
    fn add(&mut self, ledger: &Ledger, lane: u32, replicas: &[Vec<Option<u64>>]) {
        let claims = ledger.claims(lane);
        for found in replicas {
            self.replicas += 1;
            self.records += found.len() as u64;
            self.verdict.add(&judge(&claims, found));
        }
        if replicas.windows(2).any(|pair| pair[0] != pair[1]) {
            self.differing += 1;
        }
    }
}

/// Waits until the replicas agree on where each lane ends, and reads all of them.
pub(super) async fn check(cluster: &mut Cluster, lanes: &[Lane], ledger: &Ledger) -> Result<Checked, Failure> {
    settle(cluster, lanes).await?;
    let client = cluster.client(8 << 20).await?;
    let nodes: Vec<String> = cluster.ids().into_iter().map(|id| cluster.grpc_of(id)).collect();
    let reading = async {
        let mut checked = Checked::default();
        for lane in lanes {
            let all = nodes.iter().map(|node| read_back(&client, lane, Some(node.clone())));
            let replicas = futures::future::try_join_all(all).await?;
            checked.add(ledger, lane.number, &replicas);
        }
        Ok(checked)
    };
    cluster.while_whole(reading).await
}

/// Resolves when all nodes are ready and have the same ends, twice in a row.
async fn settle(cluster: &mut Cluster, lanes: &[Lane]) -> Result<(), Failure> {
    let admin = cluster.admin()?;
    let nodes: Vec<String> = cluster.ids().into_iter().map(|id| cluster.admin_of(id)).collect();
    let settled = async {
        let mut before = None;
        loop {
            let now = common_ends(&admin, &nodes, lanes).await;
            if now.is_some() && now == before {
                return Ok(());
            }
            before = now;
            sleep(LOOK).await;
        }
    };
    let settled = async {
        let late = || Failure::refused(format!("the replicas do not agree {SETTLE:?} after the end of the load"));
        timeout(SETTLE, settled).await.unwrap_or_else(|_| Err(late()))
    };
    cluster.while_whole(settled).await
}

/// Where each lane ends, if every node is ready and says the same.
async fn common_ends(admin: &Admin, nodes: &[String], lanes: &[Lane]) -> Option<Vec<u64>> {
    let mut common = None;
    for node in nodes {
        let status = admin.node_status(node).await.ok().filter(|status| status.ready)?;
        let end = |lane: &Lane| {
            let mut all = status.partitions.iter();
            all.find(|p| p.topic == lane.topic && p.partition == lane.partition).map(|p| p.end_offset)
        };
        let ends: Option<Vec<u64>> = lanes.iter().map(end).collect();
        if *common.get_or_insert(ends.clone()?) != ends? {
            return None;
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::{super::ledger::Outcome, *};
    use std::time::Instant;

    /// One lane, requests of one record: 0 and 1 acknowledged, 2 unknown.
    fn ledger() -> Ledger {
        let ledger = Ledger::new(1, 1);
        let now = Instant::now();
        for (number, outcome) in [(0, Outcome::Acked(0)), (1, Outcome::Acked(1)), (2, Outcome::Unknown)] {
            ledger.begin(now);
            ledger.settle(number, outcome);
        }
        ledger
    }

    fn checked(replicas: &[&[u64]]) -> Checked {
        let replicas: Vec<Vec<Option<u64>>> =
            replicas.iter().map(|numbers| numbers.iter().copied().map(Some).collect()).collect();
        let mut checked = Checked::default();
        checked.add(&ledger(), 0, &replicas);
        checked
    }

    #[test]
    fn equal_replicas_with_all_that_was_acknowledged_are_clean() {
        assert!(checked(&[&[0, 1], &[0, 1], &[0, 1]]).is_clean());
        let with_unknown = checked(&[&[0, 1, 2], &[0, 1, 2]]);
        assert!(with_unknown.is_clean());
        assert_eq!((with_unknown.replicas, with_unknown.records), (2, 6));
    }

    #[test]
    fn a_loss_planted_on_one_replica_is_found() {
        let one = checked(&[&[0, 1], &[0], &[0, 1]]);
        assert_eq!((one.verdict.lost, one.differing), (1, 1));
        assert!(!one.is_clean());
        let all = checked(&[&[0], &[0]]);
        assert_eq!((all.verdict.lost, all.differing), (2, 0));
        assert!(!all.is_clean());
    }

    #[test]
    fn replicas_that_differ_in_what_is_unknown_are_not_clean() {
        assert!(!checked(&[&[0, 1, 2], &[0, 1]]).is_clean());
    }
}
