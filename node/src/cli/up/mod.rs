//! `corduroy up`: a cluster on this machine.
//!
//! ```text
//! layout ─▶ ports free? ─▶ child processes `corduroy node` ─▶ wait for leaders ─▶ say where everything is
//!                               │ a child dies: say how; the others go on
//!                               └ Ctrl-C: SIGTERM to all, SIGKILL after a deadline
//! ```
//!
//! **Invariant**: no child outlives this process. Each holds the read end of a pipe as its standard input; however this
//! process ends, the kernel closes the other end, and the child shuts down.

pub(super) mod child;
pub(super) mod layout;
pub(super) mod wait;

use super::{
    block_on,
    exit::{self, Failure},
    output::{Format, Output},
};
use child::Children;
use layout::{Layout, Member};
use serde_json::json;
use std::{path::PathBuf, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// A node has this long to shut down cleanly before it is killed; its own deadline is shorter.
const STOP: Duration = Duration::from_secs(15);

/// Starts a cluster on this machine: real processes that replicate to each other, until Ctrl-C.
///
/// Run it again on the same data directory to continue with the same cluster. A node that dies is reported and not
/// restarted; the others go on, and elect new leaders.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy up
  corduroy up --nodes 5 --data /tmp/five --http-port 18000 --grpc-port 17000 --peer-port 17100 --admin-port 17200
  corduroy up --fresh                        delete what is in .corduroy, begin anew
  corduroy up --layout 'order=1,2,3;payment=4,5,6;stock=7,8,9;delivery=1,2,3'

Node i gets the ports base+i, its data is in DATA/node-i, its log in DATA/node-i.log. DATA/cluster.toml is a configuration
file: `corduroy node --config DATA/cluster.toml --id 2 --data DATA/node-2 --insecure-dev` starts one node by hand.

JSON: one object when the cluster is ready, {\"cluster\",\"nodes\":[{\"id\",\"pid\",\"http\",\"grpc\",\"peer\",\"admin\",
\"data\",\"log\"}]}.")]
pub(super) struct Args {
    /// How many nodes. Fixed for the life of the cluster.
    #[arg(long, value_name = "N", default_value_t = 3, env = "CORDUROY_NODES", value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// Which nodes carry which services, as order=1,2,3;payment=4,5,6: there are as many nodes as it names. Default: all carry
    /// all. Fixed for the life of the cluster.
    #[arg(long, value_name = "SERVICE=IDS;...", conflicts_with = "nodes", env = "CORDUROY_LAYOUT")]
    layout: Option<String>,
    /// What all nodes carry; `none`: no service, just the log. Default: everything. Fixed for the life of the cluster.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', conflicts_with = "layout", env = "CORDUROY_SERVICES")]
    services: Option<Vec<String>>,
    /// Where data and logs are kept.
    #[arg(long, value_name = "DIR", default_value = ".corduroy", env = "CORDUROY_DATA")]
    data: PathBuf,
    /// HTTP: node i listens on this plus i.
    #[arg(long, value_name = "PORT", default_value_t = 8000, env = "CORDUROY_HTTP_PORT")]
    http_port: u16,
    /// gRPC for clients: node i listens on this plus i.
    #[arg(long, value_name = "PORT", default_value_t = 7000, env = "CORDUROY_GRPC_PORT")]
    grpc_port: u16,
    /// Between the nodes: node i listens on this plus i.
    #[arg(long, value_name = "PORT", default_value_t = 7100, env = "CORDUROY_PEER_PORT")]
    peer_port: u16,
    /// gRPC for operators: node i listens on this plus i.
    #[arg(long, value_name = "PORT", default_value_t = 7200, env = "CORDUROY_ADMIN_PORT")]
    admin_port: u16,
    /// Delete the cluster that is in the data directory first, with all of its records.
    #[arg(long, env = "CORDUROY_FRESH")]
    fresh: bool,
}

pub(super) fn run(args: Args, format: Option<Format>) -> Result<(), Failure> {
    let format = format.unwrap_or(Format::Text);
    let layout = Layout::prepare(&args)?;
    block_on(async move {
        let signals = Signals::listen()?;
        let mut children = Children::spawn(&layout)?;
        let outcome = run_cluster(&layout, &mut children, signals, format).await;
        children.kill().await;
        outcome
    })
}

/// From the start of the children to their end.
async fn run_cluster(
    layout: &Layout,
    children: &mut Children,
    mut signals: Signals,
    format: Format,
) -> Result<(), Failure> {
    if format == Format::Text {
        eprintln!("starting {} nodes with --insecure-dev: no TLS, loopback addresses only", layout.members.len());
    }
    let ready = wait::until_ready(layout);
    tokio::pin!(ready);
    let mut is_ready = false;
    loop {
        tokio::select! {
            outcome = &mut ready, if !is_ready => {
                outcome?;
                is_ready = true;
                announce(layout, children, format)?;
            }
            death = children.next_death() => {
                eprintln!("{}", death.describe(layout));
                if children.alive() == 0 {
                    return Err(Failure::new(death.exit_code(), "no node is left"));
                }
                if !is_ready && children.alive() < layout.majority() {
                    return Err(Failure::new(death.exit_code(), "too few nodes are left for a majority; the cluster did not start"));
                }
            }
            () = signals.next() => return stop(layout, children, signals).await,
        }
    }
}

/// Says where everything is.
fn announce(layout: &Layout, children: &Children, format: Format) -> Result<(), Failure> {
    let mut out = Output::new();
    let pid = |member: &Member| children.pid(member.id);
    match format {
        Format::Json => {
            let node = |m: &Member| {
                json!({
                    "id": m.id, "pid": pid(m), "http": m.http(), "grpc": m.grpc(), "peer": m.peer(), "admin": m.admin(),
                    "data": layout.data_of(m), "log": layout.log_of(m),
                })
            };
            let nodes: Vec<_> = layout.members.iter().map(node).collect();
            out.json(&json!({ "cluster": layout.cluster, "nodes": nodes }))?;
        }
        Format::Text => {
            out.line(&wait::nodes_table(layout, pid))?;
            let (grpc, admin) =
                (layout.flag("--grpc", 7000, Member::grpc), layout.flag("--admin", 7200, Member::admin));
            let me = std::env::args().next().unwrap_or_else(|| "corduroy".into());
            out.line("")?;
            out.line("Three things to try, in another terminal:")?;
            out.line(&format!("  {me} topics create orders --partitions 4{admin}"))?;
            out.line(&format!("  seq 100000 | {me} append orders{grpc} | tail -1"))?;
            out.line(&format!(
                "  kill -9 {}; {me} read orders --from -3{grpc}; {me} status{admin}",
                pid(&layout.members[0]).unwrap_or(0)
            ))?;
            out.line("")?;
            out.line("Ctrl-C stops the cluster; its data stays.")?;
        }
    }
    out.flush()
}

/// Stops all children: kindly, then not; at once on a second signal.
async fn stop(layout: &Layout, children: &mut Children, mut signals: Signals) -> Result<(), Failure> {
    eprintln!("stopping {} nodes", children.alive());
    children.terminate();
    let deadline = tokio::time::sleep(STOP);
    tokio::pin!(deadline);
    let mut killed = false;
    while children.alive() > 0 {
        tokio::select! {
            death = children.next_death() => if !death.is_clean() {
                eprintln!("{}", death.describe(layout));
            },
            () = signals.next() => {
                children.kill().await;
                return Err(Failure::new(exit::INTERRUPTED, "the nodes were killed at a second signal"));
            }
            () = &mut deadline, if !killed => {
                killed = true;
                eprintln!("{} nodes did not stop within {STOP:?}; they are killed", children.alive());
                children.kill().await;
            }
        }
    }
    eprintln!("stopped; the data is in {}", layout.dir.display());
    Ok(())
}

/// SIGINT and SIGTERM to this process. The children are in groups of their own and do not see a Ctrl-C.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::start(format!("cannot listen to signals: {error}")));
        Ok(Signals { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
