//! Who leads which lanes.
use super::{cluster::Cluster, lanes::Lane};
use crate::cli::exit::Failure;
use corduroy_client::{Admin, ClusterStatus};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// How often the nodes are asked until each lane has a leader, and the pause between.
const ASKED: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);
/// Topics made until one is led by whom it should be.
const TOPICS: u32 = 32;

/// The leader of each lane, at about one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leads(BTreeMap<u64, Vec<u32>>);

impl Leads {
    /// Asks the nodes until every lane has a leader.
    pub(super) async fn look(admin: &Admin, lanes: &[Lane]) -> Result<Self, Failure> {
        for _ in 0..ASKED {
            if let Some(leads) = Leads::of_status(&admin.cluster().await?, lanes) {
                return Ok(leads);
            }
            sleep(PAUSE).await;
        }
        Err(Failure::refused("some partition has no leader"))
    }

    /// `None` while a lane has no leader.
    pub(super) fn of_status(status: &ClusterStatus, lanes: &[Lane]) -> Option<Self> {
        let mut leads = Leads::default();
        for lane in lanes {
            let mut views = status.partitions.iter();
            let view = views.find(|view| view.topic == lane.topic && view.partition == lane.partition)?;
            leads.0.entry(view.leader?).or_default().push(lane.number);
        }
        Some(leads)
    }

    /// The node that leads most of them.
    pub(super) fn most(&self) -> Result<u64, Failure> {
        let most = self.0.iter().max_by_key(|(_, lanes)| lanes.len());
        most.map(|(node, _)| *node).ok_or_else(|| Failure::refused("no partition has a leader"))
    }

    /// The lanes a node leads.
    pub(super) fn of(&self, node: u64) -> Vec<u32> {
        self.0.get(&node).cloned().unwrap_or_default()
    }
}

/// Makes a topic of one partition whose leader is as wanted; returns its name.
pub(super) async fn topic_led(
    cluster: &Cluster,
    name: &str,
    replication: u32,
    wanted: impl Fn(u64) -> bool,
) -> Result<String, Failure> {
    let admin = cluster.admin()?;
    for number in 0..TOPICS {
        let topic = format!("{name}-{number}");
        admin.create_topic(&topic, 1, Some(replication)).await?;
        let lane = Lane { number: 0, topic: topic.clone(), partition: 0 };
        if wanted(Leads::look(&admin, &[lane]).await?.most()?) {
            return Ok(topic);
        }
        admin.delete_topic(&topic).await?;
    }
    Err(Failure::refused(format!("none of {TOPICS} topics has its leader where the bench needs it")))
}
