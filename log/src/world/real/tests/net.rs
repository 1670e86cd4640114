use crate::world::{
    Connection, Net, NetError, Purpose,
    conformance::{self, packet},
    real::RealNet,
};
use futures::StreamExt as _;
use std::{io, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// A port nobody uses: the system gave it out a moment ago and has it back.
fn free_address(host: &str) -> String {
    std::net::TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().to_string()
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

#[tokio::test]
async fn it_keeps_the_contract_of_the_seam() {
    within(conformance::net(&RealNet, &RealNet, &free_address("127.0.0.1"))).await;
}

#[tokio::test]
async fn a_packet_may_be_as_large_as_several_batches() {
    let (_listener, caller, mut callee) = pair(&free_address("127.0.0.1")).await;
    let large = packet(&"x".repeat(12 << 20));
    caller.outgoing.send(large.clone()).await.unwrap();
    assert_eq!(within(callee.incoming.next()).await.unwrap().unwrap(), large);
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
async fn an_address_that_is_none_is_unreachable() {
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
    stranger.write_all(&[0xff; 4096]).await.unwrap();
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
