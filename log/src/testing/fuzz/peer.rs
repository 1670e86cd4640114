//! Packets from other nodes: greetings that are nearly right, and messages of any content after them.
use super::{array, number, wal::on_node};
use crate::{
    calls::Calls,
    cluster::Hosted,
    config::DiskPatience,
    health::{Budget, Processes, Vitals},
    peer::{Directory, Peers, Serving, serve},
    raft,
    testing::SimWorld,
    topic::ClusterId,
    wal::{Identity, Wal, WalOptions},
    world::{Connection, NetError},
};
use arbitrary::Unstructured;
use corduroy_proto::{
    packet::{self, ELEMENTS},
    v1::{AppendBatch, Greeting, Hello, Packet, PeerMessage, peer_message::Body},
};
use futures::{StreamExt as _, stream};
use prost::Message as _;
use std::{path::Path, sync::Arc};
use tokio::sync::mpsc;

const DIR: &str = "/data";
const CLUSTER: ClusterId = ClusterId([1; 16]);
const PROTOCOL: u32 = 1;
/// Bytes of a packet, as the input has them. One of this length is a shorter piece, many times.
const LONGEST: usize = 512;
/// Bytes of such a packet: decoded without a limit, they take more than a fuzzer may allocate.
const REPEATED: usize = 2 << 20;

/// Plays a peer that connects, greets and says something.
pub fn peer(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let hello = hello(&mut input);
    let packets: Vec<Packet> = std::iter::from_fn(|| packet(&mut input)).collect();
    for packet in &packets {
        let again = packet::decode(packet.encode_to_vec().into()).expect("what was encoded decodes");
        assert_eq!(&again, packet);
        let inside = packet.messages.iter().filter_map(|message| message.body.as_ref()).map(listed);
        assert!(packet.messages.len() + inside.sum::<usize>() <= ELEMENTS, "a packet became too large in memory");
        packet.messages.iter().filter_map(appended).for_each(take);
    }
    let welcome = hello.greeting.clone().unwrap_or_default();
    let welcomed = hello.to == 1
        && welcome.protocol == PROTOCOL
        && welcome.cluster_id[..] == CLUSTER.0
        && [2, 3].contains(&welcome.node)
        && welcome.incarnation.len() == 16;
    on_node(move |sim| async move {
        let disk = sim.env(1).disk;
        let (identity, _lock) = Identity::open(&disk, Path::new(DIR), CLUSTER, 1, [7; 16]).expect("the disk is empty");
        let options = WalOptions {
            dir: DIR.into(),
            cluster: CLUSTER,
            node: 1,
            segment_bytes: 16 << 10,
            commit_bytes: 4 << 10,
            hot_tail_bytes: 4 << 10,
            hot_tail_total_bytes: 4 << 10,
            index_cache_bytes: 256,
            supply: None,
        };
        let wal = Wal::<SimWorld>::open(&disk, options).expect("the disk is empty");
        let directory = Directory::new(&identity, 70, vec![1, 2, 3], wal.clone());

        let said: u64 = packets.iter().map(|packet| packet.messages.len() as u64).sum();
        let greeting = PeerMessage { body: Some(Body::Hello(hello)) };
        let first = Packet { messages: vec![greeting], confirmed: 0 };
        let incoming = stream::iter([first].into_iter().chain(packets).map(Ok::<_, NetError>)).boxed();
        let (outgoing, mut answers) = mpsc::channel(1 << 10);
        let vitals = Arc::new(Vitals::new(wal.clone(), sim.env(1).clock, DiskPatience::default(), [2, 3].into_iter()));
        let received = Budget::new(1 << 20);
        let (hosted, processes) = (Arc::new(Hosted::default()), Arc::new(Processes::new(1)));
        let peers = Peers::start(&sim.env(1).net, &directory, &vitals, &processes, &hosted, &[], false);
        let serving = Serving {
            directory: directory.clone(),
            hosted,
            vitals,
            processes,
            peers,
            received,
            calls: Calls::default(),
        };
        serve(Connection { outgoing, incoming }, Arc::new(serving)).await;

        let answer = answers.recv().await.expect("every greeting is answered");
        assert_eq!(answer.messages.len(), 1, "a greeting is answered by one message");
        match &answer.messages[0].body {
            Some(Body::Welcome(_)) => assert!(welcomed, "a stranger was welcomed"),
            Some(Body::Refused(refused)) => assert!(!welcomed, "a peer was refused: {}", refused.detail),
            other => panic!("a greeting was answered by {other:?}"),
        }
        let mut answered = 0;
        while let Some(packet) = answers.recv().await {
            answered += packet.messages.len() as u64;
        }
        assert!(answered <= said, "{answered} answers to {said} messages");
        assert!(welcomed || answered == 0, "a stranger was answered");
        // The other end of a connection judges the same.
        let judged = directory.check_welcome(welcome.node, &welcome).await.is_ok();
        assert!(!judged || welcomed || welcome.node != 1, "this node greets itself");
        assert_eq!(wal.peers().iter().filter(|peer| peer.node == 1).count(), 0, "this node is none of its peers");
        wal.close().await;
    });
}

/// Right in everything, or wrong in some of it.
fn hello(input: &mut Unstructured<'_>) -> Hello {
    let mut greeting = Greeting {
        protocol: PROTOCOL,
        cluster_id: CLUSTER.0.to_vec().into(),
        node: 2,
        incarnation: vec![5; 16].into(),
        boot_epoch: u64::from_le_bytes(array(input)),
        confirmed: u64::from_le_bytes(array(input)),
        run: u64::from_le_bytes(array(input)),
    };
    let mut to = 1;
    match number(input, 12) {
        0 => greeting.protocol = number(input, 4) as u32,
        1 => greeting.cluster_id = blob(input, 40).into(),
        2 => greeting.node = number(input, 6) as u64,
        3 => greeting.incarnation = blob(input, 40).into(),
        4 => to = number(input, 6) as u64,
        5 => return Hello { greeting: None, to },
        _ => {}
    }
    Hello { greeting: Some(greeting), to }
}

fn blob(input: &mut Unstructured<'_>, most: usize) -> Vec<u8> {
    let len = number(input, most).min(input.len());
    input.bytes(len).unwrap_or_default().to_vec()
}

/// The next packet of the input, if what is there decodes.
fn packet(input: &mut Unstructured<'_>) -> Option<Packet> {
    if input.is_empty() {
        return None;
    }
    let len = 1 + number(input, LONGEST);
    let bytes = match len {
        LONGEST => again_and_again(input),
        _ => input.bytes(len.min(input.len())).ok()?.to_vec(),
    };
    packet::decode(bytes.into()).ok()
}

/// A few bytes as often as it goes: as messages, or as the fields of an append or of heartbeats.
fn again_and_again(input: &mut Unstructured<'_>) -> Vec<u8> {
    let around: &[u8] = [&[][..], &[5, 1], &[12, 1]][number(input, 3)];
    let piece = blob(input, 32);
    let mut bytes = piece.repeat(REPEATED / piece.len().max(1));
    for field in around {
        let mut outer = vec![field << 3 | 2];
        prost::encode_length_delimiter(bytes.len(), &mut outer).expect("a vector grows");
        outer.append(&mut bytes);
        bytes = outer;
    }
    bytes
}

fn appended(message: &PeerMessage) -> Option<&AppendBatch> {
    match message.body.as_ref()? {
        Body::Append(append) => Some(append),
        _ => None,
    }
}

/// How many elements a message lists.
fn listed(body: &Body) -> usize {
    match body {
        Body::Append(append) => append.entries.len(),
        Body::Heartbeats(heartbeats) => heartbeats.beats.len(),
        Body::HeartbeatAcks(answers) => answers.acks.len(),
        Body::Gone(gone) => gone.processes.len() + gone.logs.len(),
        _ => 0,
    }
}

/// What is done with an append before Raft sees it.
fn take(append: &AppendBatch) {
    let intact = append.entries.iter().all(|entry| crc32c::crc32c(&entry.payload) == entry.crc);
    if raft::to_append_request::<SimWorld>(append.clone()).is_ok() {
        assert!(intact, "an entry was taken whose checksum does not fit");
    }
}
