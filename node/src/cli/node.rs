//! `corduroy node`: one node of a cluster, until it is told to stop.
use super::{block_on, exit::Failure};
use crate::{
    Node,
    config::{Flags, NodeConfig, NodeEntry, Sources},
    observe::{
        logs::{self, LogFormat},
        signals,
    },
    os, shop,
};
use std::path::PathBuf;
use tokio::sync::oneshot;

/// Runs one node of a cluster in the foreground, until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy node --config cluster.toml --id 2 --data /var/lib/corduroy --insecure-dev

  corduroy node --id 1 --data n1 --insecure-dev \\
      --cluster-id 7c5c0e6e-6d6f-4a37-9a6b-0d8f1c0e2b11 \\
      --peers 1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103

The configuration file has the keys cluster_id, node_id, data, insecure_dev, services, shutdown_timeout; [listen] http, grpc, peer,
admin; [[nodes]] id, peer, grpc, http, admin, services; [limits] record, batch, in_flight, node_in_flight, segment, commit,
hot_tail, hot_tail_total, index_cache, view_cache, checkpoint, state, partitions, keys, reserve, min_free_percent; [timing] heartbeat,
election_min, election_max, append_timeout, read_timeout, disk_overdue, disk_stuck, disk_failed, checkpoint_interval;
[gateway] timeout; [saga] timeout, async_timeout, release_wait; [order] partitions, max_lines; [payment] partitions;
[stock] partitions; [delivery] partitions, capacity_per_day, lead_days, horizon_days; [voucher] partitions,
strategies, retry, valid_for; [campaign] partitions, max_age; [activity] partitions, types; [account] partitions;
[idempotency] keep, quota; [subscription.order] max_age; [subscription.payment] max_age; [subscription.stock] max_age;
[subscription.delivery] max_age; [subscription.voucher] max_age; [subscription.activity] max_age; [subscription.account] max_age.
Sizes and times carry units (\"4MiB\", \"250ms\"). Keys without a flag are also read from the environment: limits.record
is CORDUROY_LIMITS_RECORD.

Ports of node N, unless given: HTTP 8000+N, gRPC 7000+N, admin 7200+N; the peer port is the one in --peers.")]
pub(super) struct Args {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "CORDUROY_CONFIG")]
    config: Option<PathBuf>,
    /// This node's id, from 1. Never give an id whose data was lost to a new node.
    #[arg(long, value_name = "N", env = "CORDUROY_ID")]
    id: Option<u64>,
    /// Identity of the cluster, a UUID; equal on all nodes.
    #[arg(long, value_name = "UUID", env = "CORDUROY_CLUSTER_ID")]
    cluster_id: Option<String>,
    /// Data directory; created when missing, locked while the node runs.
    #[arg(long, value_name = "DIR", env = "CORDUROY_DATA")]
    data: Option<PathBuf>,
    /// All nodes of the cluster with their peer addresses, this one among them.
    #[arg(long, value_name = "ID=ADDR,...", value_delimiter = ',', env = "CORDUROY_PEERS", value_parser = peer)]
    peers: Option<Vec<NodeEntry>>,
    /// What this node carries: it gets replicas of topics of these services, and of topics of none. Default: everything.
    /// `none`: no service, just the log.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', env = "CORDUROY_SERVICES")]
    services: Option<Vec<String>>,
    /// Where to serve HTTP.
    #[arg(long, value_name = "ADDR", env = "CORDUROY_LISTEN_HTTP")]
    listen_http: Option<String>,
    /// Where to serve gRPC clients.
    #[arg(long, value_name = "ADDR", env = "CORDUROY_LISTEN_GRPC")]
    listen_grpc: Option<String>,
    /// Where to serve other nodes.
    #[arg(long, value_name = "ADDR", env = "CORDUROY_LISTEN_PEER")]
    listen_peer: Option<String>,
    /// Where to serve operators.
    #[arg(long, value_name = "ADDR", env = "CORDUROY_LISTEN_ADMIN")]
    listen_admin: Option<String>,
    /// Run without encryption and authentication; loopback addresses only. Required until TLS exists.
    #[arg(long, env = "CORDUROY_INSECURE_DEV")]
    insecure_dev: bool,
    /// How log lines on standard error look.
    #[arg(long, value_enum, default_value = "auto", env = "CORDUROY_LOG_FORMAT")]
    log_format: LogFormat,
    /// Which log lines: a level, or directives like info,corduroy_log=debug.
    #[arg(long, value_name = "FILTER", default_value = "info,openraft=warn", env = "CORDUROY_LOG_LEVEL")]
    log_level: String,
    /// Shut down when standard input ends: the parent is gone.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

fn peer(text: &str) -> Result<NodeEntry, String> {
    let wrong = || format!("{text:?} is not ID=HOST:PORT");
    let (id, address) = text.split_once('=').ok_or_else(wrong)?;
    let id = id.trim().parse().map_err(|_| wrong())?;
    let peer = address.trim().to_owned();
    let (grpc, http, admin) = (String::new(), String::new(), String::new());
    Ok(NodeEntry { id, peer, grpc, http, admin, services: None })
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    logs::init(args.log_format, &args.log_level).map_err(Failure::usage)?;
    let with_parent = args.exit_with_parent;
    let sources = Sources { file: args.config.clone(), ..Sources::default() }.environment_of_process();
    let config = NodeConfig::load(&Sources { flags: flags(args), ..sources });
    let config = config.map_err(|error| Failure::usage(error.to_string()))?;
    os::enough_descriptors().map_err(Failure::start)?;
    block_on(async move {
        let end = async move {
            tokio::select! {
                () = signals::terminated() => {}
                () = parent_gone(), if with_parent => tracing::warn!("the process that started this node is gone"),
            }
        };
        let node = shop::with_services(Node::builder(), &config.shop);
        node.config(config).run_until(end).await.map_err(Failure::from)
    })
}

fn flags(args: Args) -> Flags {
    let mut flags = Flags {
        cluster_id: args.cluster_id,
        node_id: args.id,
        data: args.data,
        insecure_dev: args.insecure_dev.then_some(true),
        services: args.services,
        nodes: args.peers,
        ..Flags::default()
    };
    flags.listen.http = args.listen_http;
    flags.listen.grpc = args.listen_grpc;
    flags.listen.peer = args.listen_peer;
    flags.listen.admin = args.listen_admin;
    flags
}

/// Resolves when standard input ends. A parent holds the other end of it and writes nothing; however the parent dies,
/// the kernel closes it.
async fn parent_gone() {
    let (gone, wait) = oneshot::channel();
    // A thread of its own: a blocked read cannot be cancelled, and must not hold up the runtime's end.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = gone.send(());
    });
    // An error means that the thread is gone, which is no reason to live on unwatched.
    let _ = wait.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, SERVICE_TABLES};
    use clap::Args as _;

    #[test]
    fn the_help_names_every_configuration_key() {
        let keys = |table: &str| {
            let inside = KEYS.iter().filter_map(|key| key.strip_prefix(table));
            inside.filter(|key| !key.contains('.')).collect::<Vec<_>>().join(", ")
        };
        let top = keys("").replace(", nodes", "");
        let [listen, nodes, limits, timing] = ["listen.", "nodes.", "limits.", "timing."].map(keys);
        let services = SERVICE_TABLES.map(|table| format!("[{table}] {}", keys(&format!("{table}.")))).join("; ");
        let expected = format!(
            "{top}; [listen] {listen}; [[nodes]] {nodes}; [limits] {limits}; [timing] {timing}; {services}. Sizes"
        );
        let help = Args::augment_args(clap::Command::new("node")).get_after_help().expect("has some").to_string();
        let help: Vec<_> = help.split_whitespace().collect();
        assert!(help.join(" ").contains(&expected), "it should say: {expected}");
    }
}
