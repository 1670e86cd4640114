//! Layouts that are found again, and folders that are not touched.
use super::*;
use std::sync::atomic::{AtomicU16, Ordering};

/// Arguments with ports that no other call has: tests run side by side, and look whether their ports are free.
fn args(dir: &Path, nodes: u64) -> Args {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 30_000 + NEXT.fetch_add(40, Ordering::Relaxed);
    let data = dir.to_owned();
    let [http_port, grpc_port, peer_port, admin_port] = [base, base + 10, base + 20, base + 30];
    Args { nodes, layout: None, services: None, data, http_port, grpc_port, peer_port, admin_port, fresh: false }
}

fn refusal(args: &Args) -> String {
    Layout::prepare(args).expect_err("refused").to_string()
}

#[test]
fn next_run_finds_the_same_cluster() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    let first = Layout::prepare(&args(&data, 3)).expect("a new folder");
    let second = Layout::prepare(&args(&data, 3)).expect("the same folder");
    assert_eq!(first.cluster, second.cluster);
    let fresh = Layout::prepare(&Args { fresh: true, ..args(&data, 3) }).expect("a fresh folder");
    assert_ne!(first.cluster, fresh.cluster);
}

#[test]
fn another_number_of_nodes_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    Layout::prepare(&args(&data, 3)).expect("a new folder");
    let text = refusal(&args(&data, 5));
    assert!(text.contains("holds a cluster of 3 nodes") && text.contains("--nodes 3"), "{text}");
    Layout::prepare(&Args { fresh: true, ..args(&data, 5) }).expect("fresh");
}

#[test]
fn services_are_spread_over_nodes_as_the_layout_says_and_stay_there() {
    use crate::config::{Flags, NodeConfig, Sources};
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    let spread = |layout: &str| Args { layout: Some(layout.into()), ..args(&data, 3) };
    let layout = Layout::prepare(&spread("order=1,2,3;payment=3,5; stock = 1")).expect("a new folder");
    let carried = |layout: &Layout, id: u64| {
        let flags = Flags { node_id: Some(id), data: Some("d".into()), insecure_dev: Some(true), ..Flags::default() };
        let sources = Sources { file: Some(layout.file()), flags, ..Sources::default() };
        NodeConfig::load(&sources).expect("valid").log.services
    };
    let expected: [&[&str]; 5] = [&["order", "stock"], &["order"], &["order", "payment"], &["none"], &["payment"]];
    for (id, expected) in (1..).zip(expected) {
        assert_eq!(carried(&layout, id), expected, "node {id}");
    }
    // The next run needs only say how many nodes there are.
    let next = Layout::prepare(&args(&data, 5)).expect("the same folder");
    assert_eq!(carried(&next, 3), ["order", "payment"]);
    let text = refusal(&spread("order=1,2,3;payment=4,5"));
    assert!(text.contains("has another layout, which cannot change"), "{text}");
    for (layout, says) in [
        ("order", "names no nodes"),
        ("order=1,x", "\"x\" is no node"),
        ("order=10", "not from 1 to 9"),
        (";", "names no service"),
    ] {
        let text = refusal(&spread(layout));
        assert!(text.contains(says), "{layout}: {text}");
    }
}

#[test]
fn a_folder_of_somebody_else_is_not_touched() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let thesis = dir.path().join("thesis.txt");
    fs::write(&thesis, "years of work").expect("written");
    for fresh in [false, true] {
        let text = refusal(&Args { fresh, ..args(dir.path(), 3) });
        assert!(text.contains("not a folder of `corduroy up`"), "{text}");
        assert!(thesis.exists());
    }
}

#[test]
fn configuration_of_the_nodes_is_understood_by_them() {
    use crate::config::{Flags, NodeConfig, Sources};
    let dir = tempfile::tempdir().expect("a temporary folder");
    let args = args(&dir.path().join("data"), 3);
    let layout = Layout::prepare(&args).expect("a new folder");
    let flags = Flags { node_id: Some(2), data: Some("d".into()), insecure_dev: Some(true), ..Flags::default() };
    let config = NodeConfig::load(&Sources { file: Some(layout.file()), flags, ..Sources::default() }).expect("valid");
    assert_eq!(config.log.nodes.len(), 3);
    assert_eq!(config.listen.http.port(), args.http_port + 2);
    assert_eq!(config.listen.admin.port(), args.admin_port + 2);
}

#[test]
fn ports_that_collide_are_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let args_of = |dir: &tempfile::TempDir| args(&dir.path().join("data"), 3);
    let overlapping = args_of(&dir);
    let grpc_port = overlapping.http_port + 1;
    let text = refusal(&Args { grpc_port, ..overlapping });
    assert!(text.starts_with(&format!("port {} would be node", grpc_port + 1)), "{text}");
    let text = refusal(&Args { http_port: 65_534, ..args_of(&dir) });
    assert!(text.contains("--http-port 65534 is too high"), "{text}");
}

#[test]
fn busy_ports_are_named_with_node_and_flag() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let text = refusal(&Args { http_port: port - 1, ..args(&dir.path().join("data"), 1) });
    assert!(text.starts_with(&format!("port {port} (node 1, HTTP, --http-port) is in use")), "{text}");
}

#[test]
fn a_node_believes_what_it_was_told_and_listens_where_it_did() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut layout = Layout::temporary(dir.path().to_owned(), 3, &["none"]).expect("free ports");
    let mut seen = layout.members.clone();
    (seen[0].peer, seen[1].grpc) = (1001, 1002);
    layout.tell(3, &seen).expect("written");
    let config = |id: u64| {
        let mut arguments = layout.arguments(layout.member(id)).into_iter().skip_while(|a| a != "--config");
        let file = arguments.nth(1).map(PathBuf::from);
        let flags = crate::config::Flags {
            node_id: Some(id),
            data: Some("data".into()),
            insecure_dev: Some(true),
            ..Default::default()
        };
        let sources = crate::config::Sources { file, flags, ..Default::default() };
        crate::config::NodeConfig::load(&sources).expect("a configuration that nodes take")
    };
    let (told, other) = (config(3), config(2));
    assert_eq!((&*told.log.nodes[0].peer, &*told.log.nodes[1].grpc), ("127.0.0.1:1001", "127.0.0.1:1002"));
    assert_eq!(told.log.nodes[2].peer, layout.member(3).peer());
    assert_eq!(told.listen.grpc.to_string(), layout.member(3).grpc());
    assert_eq!(other.log.nodes[0].peer, layout.member(1).peer());
}
