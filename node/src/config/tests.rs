//! What a configuration may say, and how a wrong one is refused.
use super::*;
use figment::{Figment, providers::Serialized};
use std::{collections::BTreeSet, io::Write as _, path::PathBuf};

const CLUSTER: &str = "01920000-0000-7000-8000-000000000001";

fn flags() -> Flags {
    Flags {
        cluster_id: Some(CLUSTER.into()),
        node_id: Some(2),
        data: Some("data".into()),
        insecure_dev: Some(true),
        nodes: Some((1..=3).map(|id| entry(id, &format!("127.0.0.1:{}", 7100 + id))).collect()),
        ..Flags::default()
    }
}

fn entry(id: u64, peer: &str) -> NodeEntry {
    NodeEntry { id, peer: peer.into(), grpc: String::new(), http: String::new(), admin: String::new(), services: None }
}

fn load(flags: Flags) -> Result<NodeConfig, ConfigError> {
    NodeConfig::load(&Sources { flags, ..Sources::default() })
}

/// Loads a file with these lines; `FILE` in the refusal stands for its path.
fn load_file(text: &str, flags: Flags) -> Result<NodeConfig, String> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    let path = file.path().to_owned();
    let refusal = |error: ConfigError| error.to_string().replace(&path.display().to_string(), "FILE");
    NodeConfig::load(&Sources { file: Some(path.clone()), flags, ..Sources::default() }).map_err(refusal)
}

#[test]
fn ports_follow_the_node_id_unless_given() {
    let config = load(flags()).expect("valid");
    assert_eq!(config.listen.http.to_string(), "127.0.0.1:8002");
    assert_eq!(config.listen.grpc.to_string(), "127.0.0.1:7002");
    assert_eq!(config.listen.peer.to_string(), "127.0.0.1:7102");
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:7202");
    let own = config.log.nodes.iter().find(|node| node.id == 2).expect("listed");
    assert_eq!((own.grpc.as_str(), own.http.as_str()), ("127.0.0.1:7002", "127.0.0.1:8002"));
    let mut given = flags();
    given.listen.http = Some("127.0.0.1:9999".into());
    assert_eq!(load(given).expect("valid").listen.http.port(), 9999);
}

#[test]
fn file_has_human_units_and_flags_win_over_it() {
    let text =
        "node_id = 1\nshutdown_timeout = \"3s\"\n[limits]\nrecord = \"512KiB\"\n[timing]\nheartbeat = \"50ms\"\n";
    let config = load_file(text, flags()).expect("valid");
    assert_eq!(config.log.node, 2);
    assert_eq!(config.log.limits.record_bytes, 512 << 10);
    assert_eq!(config.log.timing.heartbeat, Duration::from_millis(50));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(3));
}

#[test]
fn every_limit_and_time_is_a_key_of_the_file_and_of_the_environment() {
    let defaults = Figment::from(Serialized::defaults(settings::Settings::default()));
    let leaves = |table: &str| {
        let value = defaults.find_value(table).expect("has defaults");
        let dict = value.as_dict().expect("is a table").keys();
        dict.map(|name| format!("{table}.{name}")).collect::<BTreeSet<_>>()
    };
    let expected: BTreeSet<_> = ["limits", "timing"].into_iter().flat_map(leaves).collect();
    let of_tables = |key: &&str| key.starts_with("limits.") || key.starts_with("timing.");
    let keys: BTreeSet<_> = KEYS.iter().filter(|key| of_tables(key)).map(|key| key.to_string()).collect();
    assert_eq!(keys, expected);

    let text = "[limits]\nhot_tail_total = \"1GiB\"\nindex_cache = \"64MiB\"\ncheckpoint = \"8MiB\"\n\
                [timing]\ncheckpoint_interval = \"20s\"\n";
    let config = load_file(text, flags()).expect("valid").log;
    assert_eq!((config.limits.hot_tail_total_bytes, config.limits.index_cache_bytes), (1 << 30, 64 << 20));
    assert_eq!((config.limits.checkpoint_bytes, config.timing.checkpoint_interval), (8 << 20, Duration::from_secs(20)));
    let environment = vec![("CORDUROY_LIMITS_CHECKPOINT".into(), "9MiB".into())];
    let config = NodeConfig::load(&Sources { environment, flags: flags(), ..Sources::default() }).expect("valid");
    assert_eq!(config.log.limits.checkpoint_bytes, 9 << 20);
}

#[test]
fn keys_of_services_are_read_from_the_file_and_from_the_environment() {
    let text = "[idempotency]\nquota = 5\n[subscription.stock]\nmax_age = \"2h\"\n";
    let shop = load_file(text, flags()).expect("valid").shop;
    assert_eq!((shop.keep.quota, shop.max_ages), (5, [("stock", Duration::from_secs(7200))].into()));
    let environment = vec![
        ("CORDUROY_IDEMPOTENCY_QUOTA".into(), "0".into()),
        ("CORDUROY_SUBSCRIPTION_DELIVERY_MAX_AGE".into(), "90s".into()),
    ];
    let shop = NodeConfig::load(&Sources { environment, flags: flags(), ..Sources::default() }).expect("valid").shop;
    assert_eq!((shop.keep.quota, shop.max_ages), (0, [("delivery", Duration::from_secs(90))].into()));
    let refusal = load_file("[subscription.stock]\nmax_age = \"1ms\"\n", flags()).expect_err("too short");
    assert!(refusal.contains("subscription.stock.max_age"), "{refusal}");
    let refusal = load_file("[subscription.stocks]\nmax_age = \"1h\"\n", flags()).expect_err("unknown");
    assert!(refusal.contains("subscription.stocks"), "{refusal}");
}

#[test]
fn types_of_activity_are_names_that_are_known() {
    let types = |text: &str| load_file(text, flags()).map(|config| config.shop.settings.activity_types);
    assert_eq!(types("").expect("the default").len(), 3);
    let two = ["ORDER_CREATED", "ORDER_CANCELLED"].map(str::to_owned);
    for text in ["\"ORDER_CREATED, ORDER_CANCELLED\"", "[\"ORDER_CREATED\", \"ORDER_CANCELLED\"]"] {
        assert_eq!(types(&format!("[activity]\ntypes = {text}\n")).expect(text), two);
    }
    assert!(types("[activity]\ntypes = \"\"\n").expect("none").is_empty());
    let environment = vec![("CORDUROY_ACTIVITY_TYPES".into(), "ORDER_CREATED".into())];
    let config = NodeConfig::load(&Sources { environment, flags: flags(), ..Sources::default() }).expect("valid");
    assert_eq!(config.shop.settings.activity_types, ["ORDER_CREATED"]);
    let refusal = types("[activity]\ntypes = \"ORDER_CREATED, ORDER_LOST\"\n").expect_err("there is no such type");
    assert!(refusal.starts_with("activity.types = \"ORDER_LOST\" (in FILE): must be some of"), "{refusal}");
    let refusal = types("[activity]\ntypes = 7\n").expect_err("no names");
    assert!(refusal.contains("activity.types"), "{refusal}");
}

#[test]
fn environment_wins_over_the_file() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(b"[limits]\nbatch = \"2MiB\"\n").expect("written");
    let sources = Sources {
        file: Some(file.path().to_owned()),
        environment: vec![("CORDUROY_LIMITS_BATCH".into(), "3MiB".into())],
        flags: flags(),
    };
    assert_eq!(NodeConfig::load(&sources).expect("valid").log.limits.batch_bytes, 3 << 20);
}

#[test]
fn unknown_key_is_refused_with_its_name_and_the_file() {
    let refusal = load_file("[limits]\nrecrod = \"1MiB\"\n", flags()).expect_err("unknown key");
    assert_eq!(refusal, r#"unknown configuration key "limits.recrod" in FILE; did you mean "limits.record"?"#);
    let refusal = load_file("colour = \"blue\"\n", flags()).expect_err("unknown key");
    assert_eq!(refusal, r#"unknown configuration key "colour" in FILE"#);
    let refusal =
        load_file("[[nodes]]\nid = 1\npeer = \"127.0.0.1:7101\"\npear = 1\n", flags()).expect_err("unknown key");
    assert!(refusal.starts_with(r#"unknown configuration key "nodes.pear" in FILE"#), "{refusal}");
}

#[test]
fn value_out_of_range_names_key_value_range_and_origin() {
    let refusal = load_file("[limits]\nrecord = \"64MiB\"\n", flags()).expect_err("out of range");
    assert_eq!(refusal, "limits.record = 64.0 MiB (in FILE): must be from 1 B to 4.0 MiB");
    let environment = vec![("CORDUROY_TIMING_HEARTBEAT".into(), "1us".into())];
    let refusal =
        NodeConfig::load(&Sources { environment, flags: flags(), ..Sources::default() }).expect_err("out of range");
    assert_eq!(refusal.to_string(), "timing.heartbeat = 1us (from CORDUROY_TIMING_HEARTBEAT): must be from 10ms to 5s");
}

#[test]
fn value_of_the_wrong_kind_says_how_to_write_it() {
    let refusal = load_file("[timing]\nheartbeat = 100\n", flags()).expect_err("no unit");
    assert!(refusal.starts_with("timing.heartbeat = 100 (in FILE): "), "{refusal}");
    assert!(refusal.contains("like \"250ms\""), "{refusal}");
    let refusal = load_file("[limits]\nrecord = \"big\"\n", flags()).expect_err("no size");
    assert!(refusal.contains("\"big\" is not a size; write it like \"4MiB\""), "{refusal}");
}

#[test]
fn syntax_error_names_the_file() {
    let refusal = load_file("[limits\n", flags()).expect_err("no TOML");
    assert!(refusal.starts_with("the configuration file FILE is not valid TOML: "), "{refusal}");
    assert_eq!(refusal.lines().count(), 1, "{refusal}");
}

#[test]
fn missing_file_is_one_sentence() {
    let sources = Sources { file: Some(PathBuf::from("/nowhere/corduroy.toml")), flags: flags(), ..Sources::default() };
    let refusal = NodeConfig::load(&sources).expect_err("no file").to_string();
    assert!(
        refusal.starts_with("cannot read the configuration file /nowhere/corduroy.toml: No such file"),
        "{refusal}"
    );
}

#[test]
fn without_insecure_dev_nothing_starts() {
    let refusal = load(Flags { insecure_dev: None, ..flags() }).expect_err("no TLS");
    assert!(refusal.to_string().contains("give --insecure-dev"), "{refusal}");
}

#[test]
fn address_beyond_loopback_is_refused() {
    let mut given = flags();
    given.listen.http = Some("0.0.0.0:8002".into());
    let refusal = load(given).expect_err("not loopback").to_string();
    assert!(
        refusal.starts_with("listen.http = \"0.0.0.0:8002\" (from the command line): is not a loopback"),
        "{refusal}"
    );
    let nodes = vec![entry(2, "127.0.0.1:7102"), entry(3, "192.0.2.7:7103")];
    let refusal = load(Flags { nodes: Some(nodes), ..flags() }).expect_err("not loopback").to_string();
    assert!(refusal.starts_with("nodes[id=3].peer = \"192.0.2.7:7103\""), "{refusal}");
}

#[test]
fn node_must_be_one_of_the_cluster() {
    let refusal = load(Flags { node_id: Some(7), ..flags() }).expect_err("stranger").to_string();
    assert!(refusal.starts_with("node_id = 7 (from the command line): is not one of the cluster's nodes"), "{refusal}");
    let refusal = load(Flags { nodes: None, ..flags() }).expect_err("no nodes").to_string();
    assert!(refusal.contains("--peers"), "{refusal}");
    let twice = vec![entry(2, "127.0.0.1:7102"), entry(2, "127.0.0.1:7103")];
    let refusal = load(Flags { nodes: Some(twice), ..flags() }).expect_err("twice").to_string();
    assert!(refusal.contains("there twice"), "{refusal}");
}

#[test]
fn orders_are_delivered_where_a_node_carries_that_service() {
    let delivers = |services: &[&[&str]], own: &[&str]| {
        let mut flags = flags();
        for (node, services) in flags.nodes.as_mut().expect("there are three").iter_mut().zip(services) {
            node.services = Some(services.iter().map(|name| (*name).to_owned()).collect());
        }
        flags.services = (!own.is_empty()).then(|| own.iter().map(|name| (*name).to_owned()).collect());
        load(flags).expect("valid").shop.settings.delivers
    };
    assert!(delivers(&[], &[]), "each carries everything");
    assert!(delivers(&[&["order"], &["stock"], &["delivery"]], &[]));
    assert!(!delivers(&[&["order"], &["stock"], &["payment"]], &[]));
    assert!(delivers(&[&["order"], &["stock"], &["payment"]], &["delivery"]), "this one was told otherwise");
    assert!(!delivers(&[&["order"], &["delivery"], &["payment"]], &["stock"]));
}

#[test]
fn campaigns_are_in_one_partition_and_replies_are_kept_for_100_seconds_at_most() {
    let shop = |text: &str| load_file(text, flags()).map(|config| config.shop);
    let usual = shop("").expect("valid");
    assert_eq!((usual.campaign_partitions, usual.campaign_max_age), (1, Duration::from_secs(100)));
    let shorter = shop("[campaign]\npartitions = 1\nmax_age = \"0s\"\n").expect("valid");
    assert_eq!(shorter.campaign_max_age, Duration::ZERO);
    let refusal = shop("[campaign]\npartitions = 2\n").expect_err("ids would be given twice");
    assert!(refusal.starts_with("campaign.partitions = 2 (in FILE): must be 1: "), "{refusal}");
    let refusal = shop("[campaign]\nmax_age = \"101s\"\n").expect_err("too long");
    assert!(refusal.starts_with("campaign.max_age = ") && refusal.contains("must be from 0s to "), "{refusal}");
}

#[test]
fn strategies_of_vouchers_are_names_that_are_known() {
    let strategies = |text: &str| load_file(text, flags()).map(|config| config.shop.settings.voucher_strategies);
    let one = "Order.Large-Delivered-Five-Euro";
    for text in [format!("\"{one}\""), format!("[\"{one}\"]")] {
        assert_eq!(strategies(&format!("[voucher]\nstrategies = {text}\n")).expect(&text), [one]);
    }
    assert!(strategies("[voucher]\nstrategies = \"\"\n").expect("none").is_empty());
    let refusal = strategies("[voucher]\nstrategies = \"Order.Free\"\n").expect_err("there is no such strategy");
    assert!(refusal.starts_with("voucher.strategies = \"Order.Free\" (in FILE): must be some of"), "{refusal}");
}
