//! Which nodes there are, on which ports, in which folders; kept in `cluster.toml` so that the next run finds it.
use super::Args;
use crate::cli::exit::Failure;
use figment::{
    Figment,
    providers::{Format as _, Toml},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
};

/// The file that makes a folder ours.
const FILE: &str = "cluster.toml";

/// A cluster on this machine.
#[derive(Debug)]
pub(in crate::cli) struct Layout {
    pub(in crate::cli) dir: PathBuf,
    pub(super) cluster: String,
    pub(in crate::cli) members: Vec<Member>,
    /// Members that have a configuration file of their own.
    told: BTreeSet<u64>,
}

/// One of its nodes.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Member {
    pub(in crate::cli) id: u64,
    http: u16,
    /// Its port for clients; [`Layout::tell`] may put another one here.
    pub(in crate::cli) grpc: u16,
    /// Its port for the other nodes, likewise.
    pub(in crate::cli) peer: u16,
    admin: u16,
    /// What it carries; `None`: everything.
    pub(in crate::cli) services: Option<Vec<String>>,
}

/// What of `cluster.toml` matters to the next run.
#[derive(Debug, Deserialize)]
struct Kept {
    cluster_id: String,
    nodes: Vec<KeptNode>,
}

#[derive(Debug, Deserialize)]
struct KeptNode {
    id: u64,
    services: Option<Vec<String>>,
}

impl Member {
    pub(in crate::cli) fn http(&self) -> String {
        address(self.http)
    }
    pub(in crate::cli) fn grpc(&self) -> String {
        address(self.grpc)
    }
    pub(super) fn peer(&self) -> String {
        address(self.peer)
    }
    pub(in crate::cli) fn admin(&self) -> String {
        address(self.admin)
    }

    /// Whether a port is one of its own.
    pub(in crate::cli) fn uses(&self, port: u16) -> bool {
        self.ports().iter().any(|(own, ..)| *own == port)
    }

    /// (port, what for, the flag that moves it).
    fn ports(&self) -> [(u16, &'static str, &'static str); 4] {
        [
            (self.http, "HTTP", "--http-port"),
            (self.grpc, "gRPC", "--grpc-port"),
            (self.peer, "the other nodes", "--peer-port"),
            (self.admin, "operators", "--admin-port"),
        ]
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Layout {
    /// Finds or makes the layout, checks that its ports are free, and writes `cluster.toml`.
    pub(super) fn prepare(args: &Args) -> Result<Self, Failure> {
        let mut members = members(args)?;
        distinct(&members)?;
        // Nothing is deleted before it is known to be ours and not in use.
        let kept = kept(&args.data)?;
        let cluster = match kept {
            None => None,
            Some(_) if args.fresh => None,
            Some(kept) if kept.nodes.len() == members.len() => {
                resume(&mut members, &kept, args)?;
                Some(kept.cluster_id)
            }
            Some(kept) => {
                let (dir, count, asked) = (args.data.display(), kept.nodes.len(), members.len());
                return Err(Failure::usage(format!(
                    "{dir} holds a cluster of {count} nodes, and the number of nodes cannot change: give --nodes {count}, or \
                     another --data, or --fresh to delete it and begin with {asked}"
                )));
            }
        };
        free(&members)?;
        if args.fresh {
            delete(&args.data)?;
        }
        let cluster = cluster.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let dir = args.data.clone();
        let layout = Layout { dir, cluster, members, told: BTreeSet::new() };
        layout.write().map_err(|error| Failure::start(format!("cannot write {}: {error}", layout.file().display())))?;
        Ok(layout)
    }

    /// A cluster of its own in an empty folder, on ports nobody uses; for a short life.
    pub(in crate::cli) fn temporary(dir: PathBuf, nodes: u64, services: &[&str]) -> Result<Self, Failure> {
        let mut ports = unused_ports();
        let mut port = || ports.next().ok_or_else(|| Failure::start("no free port was found from 10000 to 30000"));
        let services = Some(services.iter().map(|name| (*name).to_owned()).collect());
        let mut member = |id| {
            let (http, grpc, peer, admin) = (port()?, port()?, port()?, port()?);
            Ok(Member { id, http, grpc, peer, admin, services: Clone::clone(&services) })
        };
        let members = (1..=nodes).map(&mut member).collect::<Result<Vec<_>, Failure>>()?;
        let cluster = uuid::Uuid::now_v7().to_string();
        let layout = Layout { dir, cluster, members, told: BTreeSet::new() };
        layout.write().map_err(|error| Failure::start(format!("cannot write {}: {error}", layout.file().display())))?;
        Ok(layout)
    }

    /// `cluster.toml`, which is also the configuration of the nodes.
    pub(in crate::cli) fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// Lets one node believe that the others are reached at the ports of `seen`; it listens where it did. Holds from its
    /// next start on.
    pub(in crate::cli) fn tell(&mut self, id: u64, seen: &[Member]) -> Result<(), Failure> {
        let own = self.member(id);
        let (http, grpc, peer, admin) = (own.http(), own.grpc(), own.peer(), own.admin());
        let listen = format!("\n[listen]\nhttp = {http:?}\ngrpc = {grpc:?}\npeer = {peer:?}\nadmin = {admin:?}\n");
        let file = self.file_told(id);
        let written = fs::write(&file, described(&self.cluster, seen) + &listen);
        written.map_err(|error| Failure::start(format!("cannot write {}: {error}", file.display())))?;
        self.told.insert(id);
        Ok(())
    }

    fn file_told(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}.toml"))
    }

    /// The configuration of one node.
    fn file_of(&self, member: &Member) -> PathBuf {
        if self.told.contains(&member.id) { self.file_told(member.id) } else { self.file() }
    }

    pub(in crate::cli) fn data_of(&self, member: &Member) -> PathBuf {
        self.dir.join(format!("node-{}", member.id))
    }

    pub(in crate::cli) fn log_of(&self, member: &Member) -> PathBuf {
        self.dir.join(format!("node-{}.log", member.id))
    }

    pub(in crate::cli) fn member(&self, id: u64) -> &Member {
        self.members.iter().find(|member| member.id == id).expect("children are members")
    }

    pub(super) fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// The arguments that start one node.
    pub(super) fn arguments(&self, member: &Member) -> Vec<String> {
        let path = |path: PathBuf| path.display().to_string();
        [
            "node",
            "--config",
            &path(self.file_of(member)),
            "--id",
            &member.id.to_string(),
            "--data",
            &path(self.data_of(member)),
            "--insecure-dev",
        ]
        .map(str::to_owned)
        .into()
    }

    /// ` FLAG addresses`, where the ports are not those that commands try by themselves.
    pub(super) fn flag(&self, flag: &str, base: u16, of: impl Fn(&Member) -> String) -> String {
        let usual = |member: &Member| {
            u64::from(base) + member.id <= u64::from(base) + 3 && of(member) == address(base + member.id as u16)
        };
        if self.members.first().is_some_and(usual) {
            return String::new();
        }
        let addresses: Vec<String> = self.members.iter().map(of).collect();
        format!(" {flag} {}", addresses.join(","))
    }

    fn write(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let text = described(&self.cluster, &self.members);
        // A run that is cut short leaves the old file or the new one.
        let side = self.dir.join("cluster.toml.new");
        fs::write(&side, text)?;
        fs::rename(side, self.file())
    }
}

/// A cluster as a configuration file has it.
fn described(cluster: &str, members: &[Member]) -> String {
    let mut text = format!(
        "# A cluster made by `corduroy up`. The next run continues it; `corduroy node --config` understands it too.\n\
         cluster_id = {cluster:?}\n"
    );
    for member in members {
        let (peer, grpc, http, admin) = (member.peer(), member.grpc(), member.http(), member.admin());
        text += &format!(
            "\n[[nodes]]\nid = {}\npeer = {peer:?}\ngrpc = {grpc:?}\nhttp = {http:?}\nadmin = {admin:?}\n",
            member.id
        );
        if let Some(services) = &member.services {
            text += &format!("services = {services:?}\n");
        }
    }
    text
}

fn members(args: &Args) -> Result<Vec<Member>, Failure> {
    let port = |flag: &str, base: u16, id: u64| {
        u16::try_from(u64::from(base) + id).map_err(|_| {
            Failure::usage(format!("{flag} {base} is too high: node {id} would get port {}", u64::from(base) + id))
        })
    };
    let carried = args.layout.as_deref().map(carried).transpose()?;
    let nodes = carried.as_ref().map_or(args.nodes, |carried| carried.len() as u64);
    (1..=nodes)
        .map(|id| {
            Ok(Member {
                services: carried.as_ref().map_or(args.services.clone(), |carried| carried.get(&id).cloned()),
                id,
                http: port("--http-port", args.http_port, id)?,
                grpc: port("--grpc-port", args.grpc_port, id)?,
                peer: port("--peer-port", args.peer_port, id)?,
                admin: port("--admin-port", args.admin_port, id)?,
            })
        })
        .collect()
}

/// What each node carries, by `order=1,2,3;payment=4,5,6`. A node that is only in between carries nothing.
fn carried(layout: &str) -> Result<BTreeMap<u64, Vec<String>>, Failure> {
    let wrong =
        |what: &str| Failure::usage(format!("--layout {layout:?}: {what}; it is like order=1,2,3;payment=4,5,6"));
    let mut carried: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for part in layout.split(';').filter(|part| !part.trim().is_empty()) {
        let (service, nodes) = part.split_once('=').ok_or_else(|| wrong(&format!("{part:?} names no nodes")))?;
        for node in nodes.split(',') {
            let id: u64 = node.trim().parse().map_err(|_| wrong(&format!("{node:?} is no node")))?;
            if !(1..=9).contains(&id) {
                return Err(wrong(&format!("node {id} is not from 1 to 9")));
            }
            carried.entry(id).or_default().push(service.trim().to_owned());
        }
    }
    let Some(last) = carried.keys().next_back().copied() else { return Err(wrong("it names no service")) };
    for id in 1..=last {
        carried.entry(id).or_insert_with(|| vec!["none".into()]);
    }
    Ok(carried)
}

/// A cluster that is there keeps its layout.
fn resume(members: &mut [Member], kept: &Kept, args: &Args) -> Result<(), Failure> {
    for member in members {
        let before = kept.nodes.iter().find(|node| node.id == member.id).and_then(|node| node.services.clone());
        if (args.layout.is_some() || args.services.is_some()) && member.services != before {
            return Err(Failure::usage(format!(
                "the cluster in {} has another layout, which cannot change: leave --layout and --services out, or give another --data",
                args.data.display()
            )));
        }
        member.services = before;
    }
    Ok(())
}

/// Ports nobody listens on, each once. They lie below the range from which the kernel takes the ports of outgoing
/// connections: a node that is killed finds them free when it comes back.
pub(in crate::cli) fn unused_ports() -> impl Iterator<Item = u16> {
    const FROM: u16 = 10_000;
    const COUNT: u16 = 20_000;
    let start = rand::random_range(0..COUNT);
    (0..COUNT).map(move |n| FROM + (start + n) % COUNT).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// No port may be meant for two things.
fn distinct(members: &[Member]) -> Result<(), Failure> {
    let mut all: Vec<_> = members.iter().flat_map(|member| member.ports().map(|port| (port, member.id))).collect();
    all.sort();
    for pair in all.windows(2) {
        let [((port, one, flag), a), ((same, other, _), b)] = pair else { continue };
        if port == same {
            return Err(Failure::usage(format!(
                "port {port} would be node {a}'s for {one} and node {b}'s for {other}: choose another {flag}"
            )));
        }
    }
    Ok(())
}

/// Every port must be free; all that are not are named.
fn free(members: &[Member]) -> Result<(), Failure> {
    let taken = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse);
    let busy: Vec<String> = members
        .iter()
        .flat_map(|member| member.ports().map(|port| (member.id, port)))
        .filter(|(_, (port, ..))| taken(*port))
        .map(|(id, (port, purpose, flag))| format!("{port} (node {id}, {purpose}, {flag})"))
        .collect();
    match busy.as_slice() {
        [] => Ok(()),
        [one] => {
            Err(Failure::start(format!("port {one} is in use by another process: stop it, or choose other ports")))
        }
        all => Err(Failure::start(format!(
            "ports {} are in use by other processes: stop them, or choose other ports",
            all.join(", ")
        ))),
    }
}

/// What an earlier run left.
fn kept(dir: &Path) -> Result<Option<Kept>, Failure> {
    let file = dir.join(FILE);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::start(format!("cannot read {}: {error}", dir.display()))),
        Ok(entries) => entries.count(),
    };
    if !file.exists() {
        return match entries {
            0 => Ok(None),
            _ => Err(Failure::start(format!(
                "{} is not empty and holds no cluster.toml: it is not a folder of `corduroy up`; give another --data",
                dir.display()
            ))),
        };
    }
    let kept = Figment::from(Toml::file_exact(&file)).extract();
    kept.map(Some).map_err(|error| Failure::start(format!("cannot understand {}: {error}", file.display())))
}

/// Deletes a folder that was found to be ours.
fn delete(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::start(format!("cannot delete {}: {error}", dir.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
