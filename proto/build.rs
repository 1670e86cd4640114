//! Compiles `corduroy/v1/*.proto` with protox, a protobuf compiler in Rust: no `protoc` is needed.
use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};
use tonic_prost_build::configure;

/// What clients and operators say.
const CLIENTS: [&str; 2] = ["corduroy/v1/log.proto", "corduroy/v1/admin.proto"];
/// What nodes say to each other and keep.
const NODES: [&str; 3] = ["corduroy/v1/peer.proto", "corduroy/v1/cluster.proto", "corduroy/v1/snapshot.proto"];
/// What the service runtime, and the services, say and keep: a package each.
const SERVICES: [&str; 9] = [
    "corduroy/v1/runtime.proto",
    "corduroy/v1/order.proto",
    "corduroy/v1/payment.proto",
    "corduroy/v1/stock.proto",
    "corduroy/v1/delivery.proto",
    "corduroy/v1/voucher.proto",
    "corduroy/v1/campaign.proto",
    "corduroy/v1/activity.proto",
    "corduroy/v1/account.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let files = [&CLIENTS[..], &NODES, &SERVICES].concat();
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), protox::compile(&files, ["."])?.encode_to_vec())?;
    configure().bytes(".").compile_fds(protox::compile(CLIENTS, ["."])?)?;
    // A builder has one codec: the only service of these files is `Peer`.
    let nodes = out.join("nodes");
    fs::create_dir_all(&nodes)?;
    let builder = configure().bytes(".").codec_path("crate::packet::Codec").out_dir(nodes);
    builder.compile_fds(protox::compile(NODES, ["."])?)?;
    configure().bytes(".").compile_fds(protox::compile(SERVICES, ["."])?)?;
    Ok(())
}
