//! Counters and histograms of one node, in Prometheus' text format.
//!
//! The recorder belongs to the node, not to the process: two nodes in one process have two, and a program that embeds a
//! node keeps its own.
use corduroy_log::{
    partition::PartitionInfo,
    topic::NodeId,
    view::{RebuildReason, ViewState, ViewStatus},
    wal::{DiskSpace, Space},
};
use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// Bounds of latency buckets, seconds: a fast disk's sync to a lost majority's timeout.
const LATENCY: &[f64] =
    &[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// The handles; each is one atomic away from the exposition.
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    node: NodeId,
    appends: Counter,
    append_records: Counter,
    append_bytes: Counter,
    append_failures: Counter,
    append_seconds: Histogram,
    read_records: Counter,
    read_bytes: Counter,
    pub(crate) subscriptions: Gauge,
}

impl Metrics {
    pub(crate) fn new(node: NodeId) -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), LATENCY)
            .expect("the list of buckets is not empty")
            .add_global_label("node", node.to_string())
            .build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || Self::register(handle, node))
    }

    fn register(handle: PrometheusHandle, node: NodeId) -> Self {
        metrics::describe_counter!("corduroy_appends_total", "Batches acknowledged by this node as leader.");
        metrics::describe_counter!("corduroy_append_records_total", "Records acknowledged by this node as leader.");
        metrics::describe_counter!("corduroy_append_bytes_total", Unit::Bytes, "Bytes of those records.");
        metrics::describe_counter!("corduroy_append_failures_total", "Append requests that were not acknowledged.");
        metrics::describe_histogram!("corduroy_append_seconds", Unit::Seconds, "From request to acknowledgement.");
        metrics::describe_counter!("corduroy_read_records_total", "Records sent to readers and subscribers.");
        metrics::describe_counter!("corduroy_read_bytes_total", Unit::Bytes, "Bytes of those records.");
        metrics::describe_gauge!("corduroy_subscriptions", "Open subscriptions.");
        Metrics {
            handle,
            node,
            appends: metrics::counter!("corduroy_appends_total"),
            append_records: metrics::counter!("corduroy_append_records_total"),
            append_bytes: metrics::counter!("corduroy_append_bytes_total"),
            append_failures: metrics::counter!("corduroy_append_failures_total"),
            append_seconds: metrics::histogram!("corduroy_append_seconds"),
            read_records: metrics::counter!("corduroy_read_records_total"),
            read_bytes: metrics::counter!("corduroy_read_bytes_total"),
            subscriptions: metrics::gauge!("corduroy_subscriptions"),
        }
    }

    pub(crate) fn appended(&self, records: u64, bytes: u64, since: Instant) {
        self.appends.increment(1);
        self.append_records.increment(records);
        self.append_bytes.increment(bytes);
        self.append_seconds.record(since.elapsed());
    }

    pub(crate) fn append_failed(&self) {
        self.append_failures.increment(1);
    }

    pub(crate) fn sent(&self, records: u64, bytes: u64) {
        self.read_records.increment(records);
        self.read_bytes.increment(bytes);
    }

    /// Folds what histograms have collected; to be called now and then, scraped or not.
    pub(crate) fn keep_up(&self) {
        self.handle.run_upkeep();
    }

    /// Everything, with the state of the partitions as it is now.
    pub(crate) fn render(
        &self,
        uptime: Duration,
        ready: bool,
        disk: Option<DiskSpace>,
        clock: Option<(Option<i64>, bool)>,
        views: &[ViewStatus],
        partitions: &[PartitionInfo],
    ) -> String {
        let mut text = self.handle.render();
        let node = self.node;
        let mut gauge = |name: &str, help: &str, value: &dyn Fn(&PartitionInfo) -> u64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for info in partitions {
                let (topic, number) = (&info.topic, info.partition);
                let value = value(info);
                let _ = writeln!(text, "{name}{{node=\"{node}\",topic=\"{topic}\",partition=\"{number}\"}} {value}");
            }
        };
        gauge("corduroy_partition_start_offset", "First offset kept.", &|p| p.start);
        gauge("corduroy_partition_end_offset", "First offset that cannot be read yet.", &|p| p.end);
        gauge("corduroy_partition_term", "Raft term.", &|p| p.term);
        gauge("corduroy_partition_is_leader", "1 where this node leads.", &|p| u64::from(p.leader == Some(node)));
        gauge("corduroy_partition_has_leader", "1 where a leader is known.", &|p| u64::from(p.leader.is_some()));
        if let Some(disk) = disk {
            let refusing = u64::from(disk.space != Space::Plenty);
            for (name, help, value) in [
                ("corduroy_disk_free_bytes", "Free in the file system of the data directory.", disk.free),
                ("corduroy_disk_total_bytes", "Size of that file system.", disk.total),
                ("corduroy_disk_low_bytes", "Appends are refused below this.", disk.low),
                ("corduroy_disk_refuses_appends", "1 while appends are refused for want of space.", refusing),
            ] {
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{node=\"{node}\"}} {value}");
            }
        }
        text.push_str(&of_clock(node, clock));
        text.push_str(&of_views(node, views));
        let (ready, seconds) = (u8::from(ready), uptime.as_secs_f64());
        let _ =
            writeln!(text, "# HELP corduroy_ready 1 while this node should get traffic.\n# TYPE corduroy_ready gauge");
        let _ = writeln!(text, "corduroy_ready{{node=\"{node}\"}} {ready}");
        let _ = writeln!(
            text,
            "# HELP corduroy_uptime_seconds Since the process started the node.\n# TYPE corduroy_uptime_seconds gauge"
        );
        let _ = writeln!(text, "corduroy_uptime_seconds{{node=\"{node}\"}} {seconds:.3}");
        text
    }
}

/// How far the wall clock is from the other nodes', and whether it may be gone by.
fn of_clock(node: NodeId, clock: Option<(Option<i64>, bool)>) -> String {
    let mut text = String::new();
    let Some((ahead, trusted)) = clock else { return text };
    let mut gauge = |name: &str, help: &str, value: f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{node=\"{node}\"}} {value}");
    };
    if let Some(micros) = ahead {
        let help = "How far the wall clock is ahead of the median of the other nodes'.";
        gauge("corduroy_clock_ahead_seconds", help, micros as f64 / 1e6);
    }
    gauge("corduroy_clock_wrong", "1 while it is so far from them that the node does not lead.", f64::from(!trusted));
    text
}

/// What is known of the views.
fn of_views(node: NodeId, views: &[ViewStatus]) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&ViewStatus) -> u64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for view in views {
            let _ = writeln!(text, "{name}{{node=\"{node}\",view=\"{}\"}} {}", view.name, value(view));
        }
    };
    gauge(
        "corduroy_view_following",
        "1 while the view follows the log, 0 while it is opened or built anew.",
        &|view| u64::from(view.state == ViewState::Following),
    );
    gauge("corduroy_view_behind_records", "Records that have evolved and are not in the view.", &ViewStatus::behind);
    let name = "corduroy_view_rebuilds_total";
    let _ =
        writeln!(text, "# HELP {name} Times the view was built anew from the log, by reason.\n# TYPE {name} counter");
    for (view, reason) in views.iter().flat_map(|view| RebuildReason::ALL.map(|reason| (view, reason))) {
        let times = view.rebuilds.iter().find(|(found, _)| *found == reason).map_or(0, |(_, times)| *times);
        let view = view.name;
        let _ = writeln!(text, "{name}{{node=\"{node}\",view=\"{view}\",reason=\"{reason}\"}} {times}");
    }
    text
}
