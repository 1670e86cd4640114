//! What every world's seams promise, checked on each of them by its own tests.
use super::{Connection, Direction, Disk, DiskFile, Net, NetError, Pair, Purpose, StoreChange, Tree, ViewStore, Views};
use corduroy_proto::{
    packet::ELEMENTS,
    v1::{Packet, PeerMessage, Refused, peer_message::Body},
};
use futures::StreamExt as _;
use std::{io, ops::Bound, path::Path};

/// A packet that carries words.
pub(crate) fn packet(words: &str) -> Packet {
    let refused = Refused { refusal: 0, detail: words.to_owned() };
    Packet { messages: vec![PeerMessage { body: Some(Body::Refused(refused)) }], confirmed: 0 }
}

/// The contract of [`Disk`] and [`DiskFile`] as far as it can be seen without a crash. `root` exists and is empty.
pub(crate) async fn disk<D: Disk>(disk: &D, root: &Path) {
    names(disk, root);
    bytes(disk, root).await;
    locks(disk, root);
}

fn names<D: Disk>(disk: &D, root: &Path) {
    let (dir, a, b) = (root.join("x/names"), root.join("x/names/a"), root.join("x/names/b"));
    disk.create_dir_all(&dir).unwrap();
    disk.create_dir_all(&dir).unwrap();
    assert!(disk.exists(&dir).unwrap() && !disk.exists(&a).unwrap());
    assert_eq!(disk.list(&dir).unwrap(), Vec::<String>::new());
    disk.create_new(&b).unwrap().write_all_at(0, &[b"b"]).unwrap();
    disk.create_new(&a).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), ["a", "b"], "sorted");
    assert_eq!(disk.create_new(&a).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    disk.rename(&b, &a).unwrap();
    assert_eq!(disk.list(&dir).unwrap(), ["a"], "a rename replaces");
    assert_eq!(disk.open_read(&a).unwrap().len().unwrap(), 1);
    disk.sync_dir(&dir).unwrap();
    disk.remove_file(&a).unwrap();
    for missing in [disk.open(&a).map(drop), disk.remove_file(&a), disk.rename(&a, &b), disk.list(&a).map(drop)] {
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
    let (free, total) = (disk.free_bytes(&dir).unwrap(), disk.total_bytes(&dir).unwrap());
    assert!(0 < free && free <= total, "{free} of {total} bytes are free");
}

async fn bytes<D: Disk>(disk: &D, root: &Path) {
    let path = root.join("bytes");
    let file = disk.create_new(&path).unwrap();
    // More buffers than one system call takes, some of them empty.
    let buffers: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![i as u8; i % 5]).collect();
    let slices: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
    let expected = buffers.concat();
    let end = 7 + expected.len() as u64;
    file.write_all_at(7, &slices).unwrap();
    file.write_all_at(3, &[]).unwrap();
    file.sync_data().await.unwrap();
    file.sync_all().unwrap();
    assert_eq!(file.len().unwrap(), end);

    let mut read = vec![1; expected.len() + 7];
    disk.open_read(&path).unwrap().read_exact_at(0, &mut read).unwrap();
    assert_eq!(read, [&[0; 7][..], &expected].concat(), "what was never written reads as zeros");
    assert_eq!(file.read_exact_at(8, &mut read).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

    file.allocate(end + 10_000).unwrap();
    file.allocate(1).unwrap();
    assert_eq!(file.len().unwrap(), end + 10_000, "allocating never shortens");
    let mut zeros = vec![1; 10_000];
    file.read_exact_at(end, &mut zeros).unwrap();
    assert!(zeros.iter().all(|byte| *byte == 0));
    file.truncate(8).unwrap();
    file.allocate(9).unwrap();
    let mut rest = [1; 2];
    file.read_exact_at(7, &mut rest).unwrap();
    assert_eq!(rest, [expected[0], 0], "what was cut off does not come back");
}

fn locks<D: Disk>(disk: &D, root: &Path) {
    let path = root.join("lock");
    let held = disk.lock(&path).unwrap();
    assert_eq!(disk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(held);
    disk.lock(&path).unwrap();
}

/// The contract of [`Net`] between two nodes with nothing wrong between them. Nobody listens at `address`.
pub(crate) async fn net<N: Net>(caller: &N, callee: &N, address: &str) {
    let refused = caller.connect(address, Purpose::Bulk).await.unwrap_err();
    assert!(matches!(&refused, NetError::Refused(why) if why.contains(address)), "{refused}");
    let mut calls = callee.listen(address).await.unwrap();
    assert_eq!(callee.listen(address).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);

    let mut near = caller.connect(address, Purpose::Consensus).await.unwrap();
    let mut far = calls.recv().await.unwrap();
    // The callee speaks first: a connection is there before anything was sent on it.
    far.outgoing.send(packet("welcome")).await.unwrap();
    assert_eq!(near.incoming.next().await.unwrap().unwrap(), packet("welcome"));
    carries_in_order(&near, &mut far).await;
    carries_in_order(&far, &mut near).await;
    drop(near);
    is_over(far).await;

    let near = caller.connect(address, Purpose::Bulk).await.unwrap();
    drop(calls.recv().await.unwrap());
    is_over(near).await;

    let near = caller.connect(address, Purpose::Consensus).await.unwrap();
    let mut far = calls.recv().await.unwrap();
    let too_many = Packet { messages: vec![PeerMessage::default(); ELEMENTS + 1], confirmed: 0 };
    near.outgoing.send(too_many).await.unwrap();
    let lost = far.incoming.next().await.unwrap().unwrap_err();
    assert!(matches!(&lost, NetError::Lost(why) if why.contains("a packet of more than")), "{lost}");
    assert!(far.incoming.next().await.is_none());
    drop(far);
    is_over(near).await;

    let near = caller.connect(address, Purpose::Bulk).await.unwrap();
    let mut far = calls.recv().await.unwrap();
    drop(calls);
    carries_in_order(&near, &mut far).await;
    is_refused_soon(caller, address).await;
}

/// Nobody listens any more, although connections that were accepted go on.
async fn is_refused_soon<N: Net>(caller: &N, address: &str) {
    const ATTEMPTS: u32 = 10_000;
    for _ in 0..ATTEMPTS {
        // The listener is closed by a task; until then a connection is accepted, or lost at once.
        if let Err(NetError::Refused(_)) = caller.connect(address, Purpose::Bulk).await {
            return;
        }
    }
    panic!("nobody listens at {address}, and {ATTEMPTS} attempts were not refused");
}

/// More packets than any queue on the way holds.
async fn carries_in_order(from: &Connection, to: &mut Connection) {
    let send = async {
        for i in 0..1000 {
            from.outgoing.send(packet(&i.to_string())).await.unwrap();
        }
    };
    let receive = async {
        for i in 0..1000 {
            assert_eq!(to.incoming.next().await.unwrap().unwrap(), packet(&i.to_string()));
        }
    };
    futures::join!(send, receive);
}

/// Receives end, with at most one error, and sends fail.
async fn is_over(mut connection: Connection) {
    while let Some(Ok(_)) = connection.incoming.next().await {}
    assert!(connection.incoming.next().await.is_none(), "nothing follows the end or the error");
    connection.outgoing.closed().await;
    assert!(connection.outgoing.send(packet("late")).await.is_err());
}

/// The contract of [`Views`] and [`ViewStore`] as far as it can be seen without a crash. Nothing is in `root`.
pub(crate) fn views<V: Views>(views: &V, root: &Path) {
    let (dir, a, b) = (root.join("views"), root.join("views/a"), root.join("views/b"));
    assert_eq!(views.list(&dir), Ok(Vec::new()), "nothing was made yet");
    assert!(views.open(&a, CACHE).is_err(), "there is none");
    views.remove(&a).unwrap();

    let mut store = views.create(&a, CACHE).unwrap();
    assert!(views.create(&a, CACHE).is_err(), "it is there already");
    assert!(views.rename(&b, &a).is_err(), "there is nothing to rename");
    pairs_are_in_order(&mut store);
    a_batch_is_one_change(&mut store);
    let before = everything(&store);
    store.flush().unwrap();
    store.close().unwrap();

    let store = views.open(&a, CACHE).unwrap();
    assert_eq!(everything(&store), before, "what was closed opens as it was");
    store.close().unwrap();
    views.rename(&a, &b).unwrap();
    assert_eq!(views.list(&dir), Ok(vec!["b".to_owned()]));
    assert!(views.open(&a, CACHE).is_err(), "it has another name");
    let store = views.open(&b, CACHE).unwrap();
    assert_eq!(everything(&store), before);
    drop(store);
    drop(views.create(&a, CACHE).unwrap());
    assert!(views.rename(&a, &b).is_err(), "the name is taken");
    views.remove(&a).unwrap();
    views.remove(&b).unwrap();
    assert_eq!(views.list(&dir), Ok(Vec::new()));
    let again = views.create(&b, CACHE).unwrap();
    assert_eq!(everything(&again), [], "what was removed does not come back");
}

const CACHE: u64 = 1 << 20;

fn put(tree: Tree, key: &[u8], value: &[u8]) -> StoreChange {
    StoreChange { tree, key: key.to_vec(), value: Some(value.to_vec()) }
}

fn everything<S: ViewStore>(store: &S) -> Vec<Pair> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    ["a", "ab", "b"].iter().flat_map(|tree| store.range(tree, all, Direction::Ascending, usize::MAX).unwrap()).collect()
}

fn pairs_are_in_order<S: ViewStore>(store: &mut S) {
    // Names and keys that only a careless encoding mixes up.
    let keys: [&[u8]; 6] = [b"", b"\0", b"b", b"b\0", b"c", b"\xff\xff"];
    let batch =
        ["ab", "a"].into_iter().flat_map(|tree| keys.iter().rev().map(move |key| put(tree, key, key))).collect();
    store.apply(batch).unwrap();
    let found = |range, direction, limit| -> Vec<Vec<u8>> {
        let pairs = store.range("a", range, direction, limit).unwrap();
        pairs
            .into_iter()
            .map(|(key, value)| {
                assert_eq!(key, value);
                key
            })
            .collect()
    };
    let all = (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(found(all, Direction::Ascending, 100), keys);
    assert_eq!(found(all, Direction::Descending, 2), [keys[5], keys[4]]);
    let from_b = (Bound::Included(&b"b"[..]), Bound::Excluded(&b"c"[..]));
    assert_eq!(found(from_b, Direction::Ascending, 100), [b"b".to_vec(), b"b\0".to_vec()]);
    let behind_b = (Bound::Excluded(&b"b"[..]), Bound::Included(&b"c"[..]));
    assert_eq!(found(behind_b, Direction::Ascending, 100), [b"b\0".to_vec(), b"c".to_vec()]);
    let backwards = (Bound::Included(&b"c"[..]), Bound::Excluded(&b"b"[..]));
    let beside = (Bound::Excluded(&b"b"[..]), Bound::Excluded(&b"b"[..]));
    for range in [backwards, beside] {
        assert_eq!(found(range, Direction::Ascending, 100), Vec::<Vec<u8>>::new());
    }
    assert_eq!(found(all, Direction::Ascending, 0), Vec::<Vec<u8>>::new());
    assert_eq!(store.get("b", b"b"), Ok(None), "another tree");
}

fn a_batch_is_one_change<S: ViewStore>(store: &mut S) {
    let gone = StoreChange { tree: "a", key: b"b".to_vec(), value: None };
    let twice = [put("b", b"x", b"first"), put("b", b"x", &[7; 5000]), put("a", b"c", b"new"), gone];
    store.apply(twice.to_vec()).unwrap();
    assert_eq!(store.get("b", b"x"), Ok(Some(vec![7; 5000])), "the later one holds");
    assert_eq!((store.get("a", b"b"), store.get("a", b"c")), (Ok(None), Ok(Some(b"new".to_vec()))));
    assert_eq!(store.get("ab", b"b"), Ok(Some(b"b".to_vec())), "another tree has the key, too");
    store.apply(Vec::new()).unwrap();
}
