//! Waiting for leaders, visibly.
use super::layout::{Layout, Member};
use crate::cli::{exit::Failure, output::table};
use corduroy_client::{Admin, ClusterStatus};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How often the nodes are asked.
const ASK: Duration = Duration::from_millis(100);
/// All nodes start at the same time; those that do not answer after this are not waited for.
const LAGGARDS: Duration = Duration::from_secs(5);
/// After this it is not normal any more; what is missing is said in full.
const LONG: Duration = Duration::from_secs(30);

/// Resolves when the cluster can be used.
pub(in crate::cli) async fn until_ready(layout: &Layout) -> Result<(), Failure> {
    let admin = Admin::new(layout.members.iter().map(Member::admin), Duration::from_secs(5))?;
    let mut shown = Shown::new();
    loop {
        let cluster = admin.cluster().await.unwrap_or_default();
        if is_ready(&cluster, layout, shown.since.elapsed()) {
            shown.finish();
            return Ok(());
        }
        shown.say(&sentence(&cluster, layout.members.len()));
        shown.after_a_while(&cluster);
        sleep(ASK).await;
    }
}

/// Every node that answers is ready, every partition has a leader, and all nodes answer, or a majority after some
/// patience. (A node that died is reported elsewhere; the cluster is none the less up.)
fn is_ready(cluster: &ClusterStatus, layout: &Layout, waited: Duration) -> bool {
    let answering: Vec<_> = cluster.nodes.iter().filter(|node| node.pid.is_some()).collect();
    let enough = if waited < LAGGARDS { layout.members.len() } else { layout.majority() };
    answering.len() >= enough
        && answering.iter().all(|node| node.ready)
        && !cluster.partitions.is_empty()
        && cluster.partitions.iter().all(|partition| partition.leader.is_some())
}

fn sentence(cluster: &ClusterStatus, nodes: usize) -> String {
    let answering = cluster.nodes.iter().filter(|node| node.pid.is_some()).count();
    let ready = cluster.nodes.iter().filter(|node| node.ready).count();
    let (all, led) = (cluster.partitions.len(), cluster.partitions.iter().filter(|p| p.leader.is_some()).count());
    format!("{answering} of {nodes} nodes answer, {ready} are ready, {led} of {all} partitions have a leader")
}

/// What is on the screen: one moving line on a terminal, a line per change elsewhere.
struct Shown {
    bar: Option<ProgressBar>,
    last: String,
    since: Instant,
    explained: bool,
}

impl Shown {
    fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is well-formed");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(ASK);
            bar
        });
        Shown { bar, last: String::new(), since: Instant::now(), explained: false }
    }

    fn say(&mut self, sentence: &str) {
        if self.last == sentence {
            return;
        }
        sentence.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.set_message(self.last.clone()),
            None => eprintln!("{sentence}"),
        }
    }

    fn after_a_while(&mut self, cluster: &ClusterStatus) {
        if self.explained || self.since.elapsed() < LONG {
            return;
        }
        self.explained = true;
        for node in cluster.nodes.iter().filter(|node| !node.ready) {
            let why = if node.pid.is_none() { "does not answer".to_owned() } else { node.waiting_for.join("; ") };
            let line = format!("after {LONG:?}: node {} {why}", node.id);
            match &self.bar {
                Some(bar) => bar.println(line),
                None => eprintln!("{line}"),
            }
        }
    }

    fn finish(&self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => eprintln!("ready"),
        }
    }
}

/// Who is where.
pub(super) fn nodes_table(layout: &Layout, pid: impl Fn(&Member) -> Option<u32>) -> String {
    let rows = layout.members.iter().map(|member| {
        vec![
            member.id.to_string(),
            pid(member).map_or("-".into(), |pid| pid.to_string()),
            format!("http://{}", member.http()),
            member.grpc(),
            member.admin(),
            layout.data_of(member).display().to_string(),
            layout.log_of(member).display().to_string(),
        ]
    });
    table(&["node", "pid", "http", "grpc", "admin", "data", "log"], rows)
}
