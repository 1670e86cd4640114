use crate::world::{Connection, Net, NetError, Purpose, real::RealNet};
use bytes::Bytes;
use corduroy_proto::v1::{Packet, PeerMessage, Refused, peer_message::Body};
use futures::StreamExt as _;
use std::{io, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// A port nobody uses: the system gave it out a moment ago and has it back.
fn free_address(host: &str) -> String {
    std::net::TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().to_string()
}

fn packet(detail: &str) -> Packet {
    let refused = Refused { refusal: 0, detail: detail.to_owned() };
    Packet { messages: vec![PeerMessage { body: Some(Body::Refused(refused)) }] }
}

async fn pair(address: &str) -> (mpsc::Receiver<Connection>, Connection, Connection) {
    let mut listener = RealNet.listen(address).await.unwrap();
    let caller = RealNet.connect(address, Purpose::Consensus).await.unwrap();
    let callee = listener.recv().await.unwrap();
    (listener, caller, callee)
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(10), future).await.expect("an answer within 10 s")
}

/// Reads to the end of a direction, which is an error or the end of the stream.
async fn drained(connection: &mut Connection) {
    while let Some(Ok(_)) = within(connection.incoming.next()).await {}
    assert!(within(connection.incoming.next()).await.is_none(), "at most one error, and at the end");
}

/// Sends fail once the loss is known; before that they are queued.
async fn refuses_packets(connection: &Connection) {
    within(connection.outgoing.closed()).await;
    assert!(connection.outgoing.send(packet("late")).await.is_err());
}

#[tokio::test]
async fn packets_go_both_ways_in_order() {
    let (_listener, mut caller, mut callee) = pair(&free_address("127.0.0.1")).await;
    // The callee speaks first: the call is answered before anything was sent on it.
    callee.outgoing.send(packet("welcome")).await.unwrap();
    assert_eq!(within(caller.incoming.next()).await.unwrap().unwrap(), packet("welcome"));
    let sender = caller.outgoing.clone();
    tokio::spawn(async move {
        for i in 0..1000 {
            sender.send(packet(&i.to_string())).await.unwrap();
        }
    });
    for i in 0..1000 {
        assert_eq!(within(callee.incoming.next()).await.unwrap().unwrap(), packet(&i.to_string()));
    }
}

#[tokio::test]
async fn a_packet_may_be_as_large_as_several_batches() {
    let (_listener, caller, mut callee) = pair(&free_address("127.0.0.1")).await;
    let large = packet(&"x".repeat(12 << 20));
    caller.outgoing.send(large.clone()).await.unwrap();
    assert_eq!(within(callee.incoming.next()).await.unwrap().unwrap(), large);
}

#[tokio::test]
async fn the_callee_sees_that_the_caller_is_gone() {
    let (_listener, caller, mut callee) = pair(&free_address("127.0.0.1")).await;
    drop(caller);
    drained(&mut callee).await;
    refuses_packets(&callee).await;
}

#[tokio::test]
async fn the_caller_sees_that_the_callee_is_gone() {
    let (_listener, mut caller, callee) = pair(&free_address("127.0.0.1")).await;
    drop(callee);
    drained(&mut caller).await;
    refuses_packets(&caller).await;
}

#[tokio::test]
async fn a_port_in_use_is_named_as_such() {
    let address = free_address("127.0.0.1");
    let _listener = RealNet.listen(&address).await.unwrap();
    assert_eq!(RealNet.listen(&address).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn dropping_the_listener_frees_the_port_while_connections_last() {
    let address = free_address("127.0.0.1");
    let (listener, caller, mut callee) = pair(&address).await;
    drop(listener);
    let again = within(async {
        loop {
            match RealNet.listen(&address).await {
                Ok(listener) => break listener,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let _listener = again.await;
    caller.outgoing.send(packet("still here")).await.unwrap();
    assert_eq!(within(callee.incoming.next()).await.unwrap().unwrap(), packet("still here"));
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let address = free_address("127.0.0.1");
    let refused = RealNet.connect(&address, Purpose::Bulk).await.unwrap_err();
    assert!(matches!(&refused, NetError::Unreachable(detail) if detail.contains(&address)), "{refused:?}");
    let nonsense = RealNet.connect("not an address", Purpose::Bulk).await.unwrap_err();
    assert!(matches!(nonsense, NetError::Unreachable(_)));
}

#[tokio::test]
async fn a_listener_that_does_not_speak_grpc_is_unreachable() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let error = within(RealNet.connect(&address, Purpose::Bulk)).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable(_)));
}

#[tokio::test]
async fn garbage_on_the_port_does_not_disturb_it() {
    use tokio::io::AsyncWriteExt as _;
    let address = free_address("127.0.0.1");
    let mut listener = RealNet.listen(&address).await.unwrap();
    let mut stranger = tokio::net::TcpStream::connect(&address).await.unwrap();
    stranger.write_all(&Bytes::from(vec![0xff; 4096])).await.unwrap();
    let _caller = RealNet.connect(&address, Purpose::Bulk).await.unwrap();
    within(listener.recv()).await.unwrap();
}

#[tokio::test]
async fn ipv6_addresses_stand_in_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This machine has no IPv6.
    }
    let (_listener, caller, mut callee) = pair(&free_address("::1")).await;
    caller.outgoing.send(packet("six")).await.unwrap();
    assert_eq!(within(callee.incoming.next()).await.unwrap().unwrap(), packet("six"));
}
