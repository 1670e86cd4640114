//! The proxy between a caller and an echo.
use super::*;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Long enough for anything on this machine.
const SOON: Duration = Duration::from_secs(10);
/// Long enough to see that nothing comes.
const A_WHILE: Duration = Duration::from_millis(150);

/// Answers every byte with itself.
async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}

/// An echo, a proxy for it, and a connection through that.
async fn bed() -> (JoinHandle<()>, Proxy, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = listener.local_addr().expect("bound");
    let echo = tokio::spawn(echo(listener));
    let proxy = Proxy::listen(0, target).await.expect("a port");
    let stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy listens");
    (echo, proxy, stream)
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("written");
}

async fn receive(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    timeout(SOON, stream.read_exact(&mut bytes)).await.expect("it comes").expect("the connection is whole");
    String::from_utf8(bytes).expect("text")
}

async fn silent(stream: &mut TcpStream) -> bool {
    timeout(A_WHILE, stream.read_u8()).await.is_err()
}

/// Resolves when so many bytes were held.
async fn held(proxy: &Proxy, way: Way, bytes: u64) {
    let all = async {
        while proxy.traffic(way).held < bytes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, all).await.expect("the proxy takes what is sent");
}

#[tokio::test]
async fn bytes_pass_both_ways_and_are_counted() {
    let (_echo, proxy, mut stream) = bed().await;
    send(&mut stream, "hello").await;
    assert_eq!(receive(&mut stream, 5).await, "hello");
    assert_eq!(proxy.traffic(Way::Forth), Traffic { passed: 5, held: 0 });
    assert_eq!(proxy.connections(), 1);
    stream.shutdown().await.expect("open");
    assert_eq!(timeout(SOON, stream.read_u8()).await.expect("the end comes, too").map_err(|e| e.kind()).ok(), None);
}

#[tokio::test]
async fn a_way_forth_that_is_held_delivers_nothing_and_everything_in_order_afterwards() {
    let (_echo, proxy, mut stream) = bed().await;
    proxy.hold(Way::Forth);
    send(&mut stream, "one ").await;
    held(&proxy, Way::Forth, 4).await;
    assert_eq!(proxy.traffic(Way::Forth), Traffic { passed: 0, held: 4 });
    send(&mut stream, "two").await;
    assert!(silent(&mut stream).await);
    proxy.release(Way::Forth);
    assert_eq!(receive(&mut stream, 7).await, "one two");
}

#[tokio::test]
async fn a_way_back_that_is_held_lets_the_way_forth_pass() {
    let (_echo, proxy, mut stream) = bed().await;
    proxy.hold(Way::Back);
    send(&mut stream, "there").await;
    held(&proxy, Way::Back, 5).await;
    assert_eq!(proxy.traffic(Way::Forth), Traffic { passed: 5, held: 0 });
    assert_eq!(proxy.traffic(Way::Back), Traffic { passed: 0, held: 5 });
    assert!(silent(&mut stream).await);
    proxy.release(Way::Back);
    assert_eq!(receive(&mut stream, 5).await, "there");
}

#[tokio::test]
async fn a_connection_made_while_held_is_silent_and_then_whole() {
    let (_echo, proxy, _first) = bed().await;
    proxy.hold(Way::Forth);
    let mut late = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy listens");
    send(&mut late, "late").await;
    held(&proxy, Way::Forth, 4).await;
    assert!(silent(&mut late).await);
    proxy.release(Way::Forth);
    assert_eq!(receive(&mut late, 4).await, "late");
}

#[tokio::test]
async fn the_end_of_a_connection_is_held_like_its_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = Proxy::listen(0, listener.local_addr().expect("bound")).await.expect("a port");
    let caller = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy listens");
    let (mut target, _) = listener.accept().await.expect("through the proxy");
    proxy.hold(Way::Forth);
    drop(caller);
    assert!(silent(&mut target).await, "no end arrives over a cut cable");
    proxy.release(Way::Forth);
    assert!(timeout(SOON, target.read_u8()).await.expect("the end comes").is_err());
}

#[tokio::test]
async fn a_reset_ends_every_connection_and_the_next_one_is_whole() {
    let (_echo, proxy, mut stream) = bed().await;
    send(&mut stream, "x").await;
    assert_eq!(receive(&mut stream, 1).await, "x");
    proxy.reset();
    let error = timeout(SOON, stream.read_u8()).await.expect("it is noticed at once").expect_err("nothing was sent");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(proxy.connections_reset(), 1);
    let mut next = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy still listens");
    send(&mut next, "y").await;
    assert_eq!(receive(&mut next, 1).await, "y");
}

#[tokio::test]
async fn a_target_that_is_gone_is_gone_through_the_proxy_too_until_it_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = listener.local_addr().expect("bound");
    let proxy = Proxy::listen(0, target).await.expect("a port");
    let mut caller = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy listens");
    let (accepted, _) = listener.accept().await.expect("through the proxy");
    drop(listener);
    drop(accepted);
    assert!(timeout(SOON, caller.read_u8()).await.expect("the end comes").is_err());
    drop(caller);
    let refused = async {
        while TcpStream::connect(("127.0.0.1", proxy.port())).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, refused).await.expect("the proxy refuses as its target does");
    let listener = listener::bind(target).expect("the port is free");
    let echo = tokio::spawn(echo(listener));
    let mut back = timeout(SOON, async {
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", proxy.port())).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the proxy takes connections again");
    send(&mut back, "again").await;
    assert_eq!(receive(&mut back, 5).await, "again");
    echo.abort();
}
