//! The called side without Raft behind it: what a stream has taken stays unanswered until the test answers it.
use super::*;
use crate::{
    batch::Batch,
    calls::Calls,
    config::{DiskPatience, Limits},
    record::NewRecord,
    testing::{Sim, SimWorld},
    topic::ClusterId,
    wal::{Identity, Wal, WalOptions},
    world::Timestamp,
};
use std::path::Path;

const BUDGET: u64 = 10_000;
const STREAM: u64 = 5;

/// A node that has received nothing yet.
fn node(sim: &Sim) -> Arc<Serving<SimWorld>> {
    let (disk, dir, cluster) = (sim.env(1).disk, Path::new("/data"), ClusterId([1; 16]));
    let (identity, _lock) = Identity::open(&disk, dir, cluster, 1, [7; 16]).unwrap();
    let options = WalOptions {
        dir: dir.into(),
        cluster,
        node: 1,
        segment_bytes: 16 << 10,
        commit_bytes: 4 << 10,
        hot_tail_bytes: 4 << 10,
        hot_tail_total_bytes: 4 << 10,
        index_cache_bytes: 256,
        supply: None,
    };
    let wal = Wal::open(&disk, options).unwrap();
    let directory = Directory::new(&identity, 70, vec![1, 2, 3], wal.clone());
    let vitals = Arc::new(Vitals::new(wal, sim.env(1).clock, DiskPatience::default(), [2, 3].into_iter()));
    let (hosted, processes, received) = (Arc::default(), Arc::new(Processes::new(1)), Budget::new(BUDGET));
    let peers = Peers::start(&sim.env(1).net, &directory, &vitals, &processes, &hosted, &[], false);
    Arc::new(Serving { directory, hosted, vitals, processes, peers, received, calls: Calls::default() })
}

/// A connection with one open stream.
struct Connected {
    caller: Caller<SimWorld>,
    /// What Raft would take.
    taken: mpsc::UnboundedReceiver<AppendEntriesRequest<TypeConfig<SimWorld>>>,
    answers: mpsc::Receiver<Packet>,
}

impl Connected {
    fn new(serving: &Arc<Serving<SimWorld>>) -> Self {
        let (outgoing, answers) = mpsc::channel(16);
        let feeder = Feeder::new(serving.hosted.clone(), serving.directory.clone(), outgoing.clone());
        let outbox = Outbox::start::<SimWorld>(outgoing, serving.directory.clone());
        let (appends, taken) = mpsc::unbounded_channel();
        let streams = BTreeMap::from([(STREAM, Incoming { appends, unanswered: Unanswered::default() })]);
        let (answers_to, requests) = (Answers { outbox }, Budget::new(REQUESTS));
        let caller = Caller { peer: 2, answers: answers_to, streams, feeder, requests, serving: serving.clone() };
        Connected { caller, taken, answers }
    }

    /// The oldest append is on disk.
    fn settle(&mut self) {
        assert!(self.taken.try_recv().is_ok(), "nothing was taken");
        self.caller.streams[&STREAM].unanswered.lock().unwrap().pop_front().expect("a share for each append");
    }

    /// Why its stream failed.
    async fn failure(&mut self) -> String {
        let message = self.answers.recv().await.expect("an answer").messages.remove(0);
        match message.body {
            Some(Body::AppendAck(AppendAck { stream: STREAM, outcome: Some(Outcome::Failed(why)), .. })) => why,
            other => panic!("a failure was expected: {other:?}"),
        }
    }
}

/// An append of one batch of about so many bytes.
fn append(bytes: usize) -> AppendBatch {
    let batch = Batch::encode(&[NewRecord::new(vec![b'x'; bytes])], &Limits::default(), Timestamp(1)).unwrap();
    let kind = pb::EntryKind::Batch.into();
    let entry = pb::Entry { term: 1, index: 1, kind, payload: batch.bytes().clone(), crc: batch.crc() };
    AppendBatch { stream: STREAM, entries: vec![entry], ..AppendBatch::default() }
}

/// R65: each of the connections is far below what one alone may send.
#[test]
fn what_all_connections_together_have_received_is_bounded_and_who_is_above_is_told() {
    let sim = Sim::seed(0);
    sim.run(async {
        let serving = node(&sim);
        let mut connections: Vec<Connected> = (0..4).map(|_| Connected::new(&serving)).collect();
        for connection in &mut connections {
            connection.caller.take(Body::Append(append(3000)));
        }
        let used = serving.received.used();
        assert!((9000..=BUDGET).contains(&used), "three of four: {used}");
        let why = connections[3].failure().await;
        assert_eq!(why, format!("busy: {used} bytes are not on disk yet, the bound is {BUDGET}"));
        assert!(connections[3].taken.try_recv().is_err(), "what was refused was not taken");
        assert!(connections[3].caller.streams.is_empty(), "nothing may follow a gap");
        // What reaches the disk makes room, for whoever comes first.
        connections[1].settle();
        connections[3] = Connected::new(&serving);
        connections[3].caller.take(Body::Append(append(3000)));
        assert_eq!(serving.received.used(), used);
        for waiting in [0, 2, 3] {
            connections[waiting].settle();
        }
        assert_eq!(serving.received.used(), 0);
        // A connection that is lost gives back what it held.
        connections[0].caller.take(Body::Append(append(3000)));
        assert!(serving.received.used() > 0);
        connections.clear();
        assert_eq!(serving.received.used(), 0);
    });
}
