//! `corduroy status`: the nodes, the partitions, who leads.
use super::{
    block_on,
    connect::AdminArgs,
    exit::Failure,
    output::{Format, Output, table},
};
use corduroy_client::{Admin, ClusterStatus, NodeView, PartitionView};
use corduroy_proto::v1::{ClockStatus, Subscription, ViewStatus};
use serde::Serialize;
use std::collections::BTreeMap;

/// Shows the nodes and partitions of the cluster, and who leads.
///
/// One node that answers is enough to learn of the others; nodes that do not answer are shown without a pid and as not
/// ready. A partition has no leader when nobody who answers knows a live one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy status
  corduroy status --format json | jq '.partitions[] | select(.leader == null)'

JSON: {\"nodes\":[{\"id\",\"http\",\"grpc\",\"pid\",\"ready\",\"disk\":{\"space\",\"freeBytes\",\"totalBytes\"},
\"clock\":{\"aheadMillis\",\"wrong\"},\"views\":[{\"view\",\"state\",\"behind\",\"rebuilds\"}]}],\"partitions\":[{\"topic\",\"partition\",\"leader\",\"term\",
\"replicas\",\"startOffset\",\"endOffset\"}],\"subscriptions\":[{\"service\",\"partition\",\"topic\",\"source\",\"offset\",\"lag\"}]};
pid, disk, clock, aheadMillis, leader and lag may be null. aheadMillis compares the node's clock with the median of the other nodes'; one whose clock is wrong does not lead. A partition of a service has handled what is below offset in partition source of topic. space is plenty, low (appends are refused) or full. state is opening, rebuilding, following or failing; behind is in records.")]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Serialize)]
struct Status<'a> {
    nodes: Vec<Node<'a>>,
    partitions: Vec<Partition<'a>>,
    subscriptions: Vec<Reading<'a>>,
}

/// How far a partition of a service has read one that it listens to.
#[derive(Serialize)]
struct Reading<'a> {
    service: &'a str,
    partition: u32,
    topic: &'a str,
    source: u32,
    offset: u64,
    lag: Option<u64>,
}

impl<'a> From<&'a Subscription> for Reading<'a> {
    fn from(read: &'a Subscription) -> Self {
        let Subscription { service, partition, topic, source, offset, end } = read;
        let lag = end.map(|end| end.saturating_sub(*offset));
        Reading { service, partition: *partition, topic, source: *source, offset: *offset, lag }
    }
}

#[derive(Serialize)]
struct Node<'a> {
    id: u64,
    http: &'a str,
    grpc: &'a str,
    pid: Option<u32>,
    ready: bool,
    disk: Option<Disk<'a>>,
    clock: Option<Clock>,
    views: Vec<View<'a>>,
}

#[derive(Serialize)]
struct View<'a> {
    view: &'a str,
    state: &'a str,
    behind: u64,
    rebuilds: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Disk<'a> {
    space: &'a str,
    free_bytes: u64,
    total_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Clock {
    ahead_millis: Option<i64>,
    wrong: bool,
}

/// A partition in `status` and `topics describe`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Partition<'a> {
    topic: &'a str,
    partition: u32,
    leader: Option<u64>,
    term: u64,
    replicas: &'a [u64],
    start_offset: u64,
    end_offset: u64,
}

/// What each node that answers says of its views.
type Views = BTreeMap<u64, Vec<ViewStatus>>;
/// And of its clock.
type Clocks = BTreeMap<u64, ClockStatus>;

/// What only the nodes themselves can say.
#[derive(Default)]
struct Own {
    views: Views,
    clocks: Clocks,
    subscriptions: Vec<Subscription>,
}

impl<'a> Node<'a> {
    fn new(node: &'a NodeView, own: &'a Own) -> Self {
        let disk = node.disk.as_ref().map(|disk| Disk {
            space: &disk.space,
            free_bytes: disk.free_bytes,
            total_bytes: disk.total_bytes,
        });
        let view = |view: &'a ViewStatus| View {
            view: &view.name,
            state: &view.state,
            behind: view.behind,
            rebuilds: view.rebuilds,
        };
        let clock = own
            .clocks
            .get(&node.id)
            .map(|clock| Clock { ahead_millis: clock.ahead.map(|micros| micros / 1000), wrong: clock.wrong });
        let views = own.views.get(&node.id).map(|views| views.iter().map(view).collect()).unwrap_or_default();
        Node { id: node.id, http: &node.http, grpc: &node.grpc, pid: node.pid, ready: node.ready, disk, clock, views }
    }
}

impl<'a> From<&'a PartitionView> for Partition<'a> {
    fn from(view: &'a PartitionView) -> Self {
        Partition {
            topic: &view.topic,
            partition: view.partition,
            leader: view.leader,
            term: view.term,
            replicas: &view.replicas,
            start_offset: view.start_offset,
            end_offset: view.end_offset,
        }
    }
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    block_on(async move {
        let admin = args.admin.admin()?;
        let cluster = admin.cluster().await?;
        let own = own(&admin, &cluster).await;
        let mut out = Output::new();
        match format.unwrap_or(Format::Text) {
            Format::Json => out.json(&json(&cluster, &own))?,
            Format::Text => text(&mut out, &cluster, &own)?,
        }
        out.flush()
    })
}

async fn own(admin: &Admin, cluster: &ClusterStatus) -> Own {
    let mut own = Own::default();
    for node in cluster.nodes.iter().filter(|node| node.pid.is_some()) {
        if let Ok(answer) = admin.node_status(&node.admin).await {
            own.views.insert(node.id, answer.views);
            own.clocks.extend(answer.clock.map(|clock| (node.id, clock)));
            own.subscriptions.extend(answer.subscriptions);
        }
    }
    let place = |read: &Subscription| (read.service.clone(), read.partition, read.topic.clone(), read.source);
    own.subscriptions.sort_by_cached_key(place);
    own
}

fn json<'a>(cluster: &'a ClusterStatus, own: &'a Own) -> Status<'a> {
    Status {
        nodes: cluster.nodes.iter().map(|node| Node::new(node, own)).collect(),
        partitions: cluster.partitions.iter().map(Partition::from).collect(),
        subscriptions: own.subscriptions.iter().map(Reading::from).collect(),
    }
}

fn text(out: &mut Output, cluster: &ClusterStatus, own: &Own) -> Result<(), Failure> {
    let nodes = cluster.nodes.iter().map(|node| {
        let pid = node.pid.map_or("-".into(), |pid| pid.to_string());
        let state = match (node.pid, node.ready) {
            (None, _) => "no answer".to_owned(),
            (Some(_), true) => "ready".to_owned(),
            (Some(_), false) => format!("not ready: {}", node.waiting_for.join("; ")),
        };
        let short = node.disk.as_ref().filter(|disk| disk.space != "plenty");
        let state = short.map_or(state.clone(), |disk| {
            format!("{state}; disk {}, {} bytes free: refuses appends", disk.space, disk.free_bytes)
        });
        let wrong = own.clocks.get(&node.id).filter(|clock| clock.wrong);
        let state = wrong.map_or(state.clone(), |clock| format!("{state}; {}", of_wrong(clock)));
        let views = own.views.get(&node.id).into_iter().flatten().filter(|view| view.state != "following");
        let state = views.fold(state, |state, view| {
            format!("{state}; view {} is {}, {} records behind", view.name, view.state, view.behind)
        });
        vec![node.id.to_string(), state, pid, format!("http://{}", node.http), node.grpc.clone(), node.admin.clone()]
    });
    out.line(&table(&["node", "state", "pid", "http", "grpc", "admin"], nodes))?;
    out.line("")?;
    out.line(&partitions_table(&cluster.partitions))?;
    if own.subscriptions.is_empty() {
        return Ok(());
    }
    let rows = own.subscriptions.iter().map(Reading::from).map(|read| {
        vec![
            format!("{}/{}", read.service, read.partition),
            format!("{}/{}", read.topic, read.source),
            read.offset.to_string(),
            read.lag.map_or("unknown".into(), |lag| lag.to_string()),
        ]
    });
    out.line("")?;
    out.line(&table(&["service", "reads", "offset", "lag"], rows))
}

fn of_wrong(clock: &ClockStatus) -> String {
    let place = match clock.ahead {
        Some(micros) if micros < 0 => format!("{:.1} s behind the other nodes'", micros.unsigned_abs() as f64 / 1e6),
        Some(micros) => format!("{:.1} s ahead of the other nodes'", micros as f64 / 1e6),
        None => "far from the other nodes'".into(),
    };
    format!("its clock is {place}: does not lead")
}

/// The partitions, for people.
pub(super) fn partitions_table<'a>(partitions: impl IntoIterator<Item = &'a PartitionView>) -> String {
    let rows = partitions.into_iter().map(|p| {
        let leader = p.leader.map_or("none".into(), |leader| leader.to_string());
        let replicas: Vec<String> = p.replicas.iter().map(u64::to_string).collect();
        vec![
            format!("{}/{}", p.topic, p.partition),
            leader,
            p.term.to_string(),
            replicas.join(","),
            p.start_offset.to_string(),
            p.end_offset.to_string(),
        ]
    });
    table(&["partition", "leader", "term", "replicas", "start", "end"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corduroy_client::DiskView;

    #[test]
    fn json_has_exactly_the_documented_shape() {
        let cluster = ClusterStatus {
            nodes: vec![NodeView {
                id: 1,
                http: "127.0.0.1:8001".into(),
                grpc: "127.0.0.1:7001".into(),
                admin: "127.0.0.1:7201".into(),
                pid: None,
                ready: false,
                waiting_for: Vec::new(),
                disk: Some(DiskView { space: "low".into(), free_bytes: 5, total_bytes: 100 }),
            }],
            partitions: vec![PartitionView {
                topic: "_cluster".into(),
                partition: 0,
                leader: Some(2),
                term: 3,
                replicas: vec![1, 2],
                start_offset: 0,
                end_offset: 5,
            }],
            topics: Vec::new(),
        };
        let view = ViewStatus {
            name: "topics".into(),
            state: "rebuilding".into(),
            behind: 7,
            rebuilds: 1,
            ..ViewStatus::default()
        };
        let read = Subscription {
            service: "payment".into(),
            partition: 1,
            topic: "order".into(),
            source: 2,
            offset: 5,
            end: Some(7),
        };
        let clock = ClockStatus { ahead: Some(-2_500_000), wrong: true };
        assert_eq!(of_wrong(&clock), "its clock is 2.5 s behind the other nodes': does not lead");
        let own = Own {
            views: Views::from([(1, vec![view])]),
            clocks: Clocks::from([(1, clock)]),
            subscriptions: vec![read],
        };
        assert_eq!(
            serde_json::to_string(&json(&cluster, &own)).expect("serializable"),
            concat!(
                r#"{"nodes":[{"id":1,"http":"127.0.0.1:8001","grpc":"127.0.0.1:7001","pid":null,"ready":false,"#,
                r#""disk":{"space":"low","freeBytes":5,"totalBytes":100},"#,
                r#""clock":{"aheadMillis":-2500,"wrong":true},"#,
                r#""views":[{"view":"topics","state":"rebuilding","behind":7,"rebuilds":1}]}],"#,
                r#""partitions":[{"topic":"_cluster","partition":0,"leader":2,"term":3,"replicas":[1,2],"#,
                r#""startOffset":0,"endOffset":5}],"#,
                r#""subscriptions":[{"service":"payment","partition":1,"topic":"order","source":2,"#,
                r#""offset":5,"lag":2}]}"#
            )
        );
    }
}
