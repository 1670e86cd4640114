use super::*;
use crate::{
    testing::{SimNet, SimTasks},
    world::conformance,
};
use corduroy_proto::v1::peer_message::Body;
use openraft_rt::AsyncRuntime as _;
use std::io;
use tokio::sync::mpsc;

/// Node 2 listens, node 1 has called it.
async fn pair(sim: &Sim) -> (mpsc::Receiver<Connection>, Connection, Connection) {
    let mut listener = sim.env(2).net.listen("two").await.unwrap();
    let caller = sim.env(1).net.connect("two", Purpose::Consensus).await.unwrap();
    let callee = listener.recv().await.unwrap();
    (listener, caller, callee)
}

/// The next packet's words, or why there is none.
async fn receive(connection: &mut Connection) -> Result<String, NetError> {
    let packet = connection.incoming.next().await.unwrap_or(Err(NetError::Lost("the end".to_owned())))?;
    match packet.messages.into_iter().next().and_then(|message| message.body) {
        Some(Body::Refused(refused)) => Ok(refused.detail),
        other => panic!("not sent by these tests: {other:?}"),
    }
}

async fn receives_nothing_for(connection: &mut Connection, time: Duration) -> bool {
    SimTasks::timeout(time, receive(connection)).await.is_err()
}

async fn call(net: &SimNet) -> Result<Connection, NetError> {
    net.connect("two", Purpose::Consensus).await
}

#[test]
fn it_keeps_the_contract_of_the_seam() {
    let sim = Sim::new(1);
    sim.run(async { conformance::net(&sim.env(1).net, &sim.env(2).net, "two").await });
}

#[test]
fn packets_arrive_in_order_and_take_the_latency() {
    let sim = Sim::new(1);
    sim.run(async {
        let (_listener, caller, mut callee) = pair(&sim).await;
        let start = sim.elapsed();
        let sender = caller.outgoing.clone();
        sim.spawn_on(1, async move {
            for i in 0..500 {
                sender.send(packet(&i.to_string())).await.unwrap();
            }
        });
        for i in 0..500 {
            assert_eq!(receive(&mut callee).await.unwrap(), i.to_string());
        }
        let took = sim.elapsed() - start;
        assert!(took >= Duration::from_micros(50), "{took:?}");
        assert!(took <= ms(20), "packets are on their way together: {took:?}");
    });
}

#[test]
fn a_link_cut_one_way_holds_packets_back_until_it_is_mended() {
    let sim = Sim::new(1);
    sim.run(async {
        let (_listener, mut caller, mut callee) = pair(&sim).await;
        sim.cut_one_way(1, 2);
        caller.outgoing.send(packet("held back")).await.unwrap();
        callee.outgoing.send(packet("passes")).await.unwrap();
        assert_eq!(receive(&mut caller).await.unwrap(), "passes");
        assert!(receives_nothing_for(&mut callee, ms(500)).await);
        sim.heal(1, 2);
        assert_eq!(receive(&mut callee).await.unwrap(), "held back");
        sim.sleep(Duration::from_secs(20)).await;
        caller.outgoing.send(packet("later")).await.unwrap();
        assert_eq!(receive(&mut callee).await.unwrap(), "later", "the keepalive of a mended cut does not strike");
    });
}

#[test]
fn a_cut_longer_than_the_keepalive_loses_the_connection_on_both_sides() {
    let sim = Sim::new(1);
    sim.run(async {
        let (_listener, mut caller, mut callee) = pair(&sim).await;
        sim.cut_one_way(2, 1);
        assert!(receives_nothing_for(&mut caller, ms(4900)).await);
        assert!(matches!(receive(&mut caller).await, Err(NetError::Lost(_))));
        assert!(matches!(receive(&mut callee).await, Err(NetError::Lost(_))));
        assert!(caller.incoming.next().await.is_none(), "one error, and at the end");
        assert!(caller.outgoing.send(packet("late")).await.is_err());
        assert!(callee.outgoing.send(packet("late")).await.is_err());
        let start = sim.elapsed();
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Unreachable(_))));
        assert_eq!(sim.elapsed() - start, Duration::from_secs(1), "a silent timeout");
        sim.heal_all();
        call(&sim.env(1).net).await.unwrap();
    });
}

#[test]
fn a_killed_peer_is_noticed_after_what_it_sent() {
    let sim = Sim::new(1);
    sim.run(async {
        let (mut listener, caller, callee) = pair(&sim).await;
        let mut caller = caller;
        sim.spawn_on(2, async move {
            callee.outgoing.send(packet("last words")).await.unwrap();
            while listener.recv().await.is_some() {}
        });
        sim.sleep(Duration::from_micros(10)).await;
        sim.kill(2);
        assert_eq!(receive(&mut caller).await.unwrap(), "last words");
        assert!(matches!(receive(&mut caller).await, Err(NetError::Lost(_))));
        assert!(caller.outgoing.send(packet("late")).await.is_err());
        let start = sim.elapsed();
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Unreachable(_))));
        assert!(sim.elapsed() - start < ms(2), "a dead process is refused at once");
        let _listener = sim.restart(2).net.listen("two").await.unwrap();
        call(&sim.env(1).net).await.unwrap();
    });
}

#[test]
fn a_machine_without_power_is_silent() {
    let sim = Sim::new(1);
    sim.run(async {
        let (_listener, mut caller, _callee) = pair(&sim).await;
        sim.power_cut(2);
        assert!(receives_nothing_for(&mut caller, ms(4900)).await);
        assert!(matches!(receive(&mut caller).await, Err(NetError::Lost(_))));
        let start = sim.elapsed();
        assert!(call(&sim.env(1).net).await.is_err());
        assert_eq!(sim.elapsed() - start, Duration::from_secs(1));
    });
}

#[test]
fn a_machine_that_is_back_resets_the_connections_it_does_not_know() {
    let sim = Sim::new(1);
    sim.run(async {
        let (_listener, mut caller, _callee) = pair(&sim).await;
        sim.power_cut(2);
        sim.sleep(ms(100)).await;
        sim.restart(2);
        assert!(!receives_nothing_for(&mut caller, ms(2)).await);
    });
}

#[test]
fn hanging_up_ends_the_other_side_and_fails_its_sends() {
    let sim = Sim::new(1);
    sim.run(async {
        let (_listener, caller, mut callee) = pair(&sim).await;
        caller.outgoing.send(packet("bye")).await.unwrap();
        drop(caller);
        assert_eq!(receive(&mut callee).await.unwrap(), "bye");
        assert!(receive(&mut callee).await.is_err());
        callee.outgoing.closed().await;
    });
}

#[test]
fn a_receiver_that_does_not_read_makes_the_sender_wait() {
    let sim = Sim::new(1);
    sim.run(async {
        let (_listener, caller, mut callee) = pair(&sim).await;
        let mut sent = 0;
        while SimTasks::timeout(ms(100), caller.outgoing.send(packet("x"))).await.is_ok() {
            sent += 1;
            assert!(sent < 10_000, "nothing bounds the queue");
        }
        for _ in 0..sent {
            receive(&mut callee).await.unwrap();
        }
    });
}

#[test]
fn an_address_is_listened_on_once_and_free_when_the_listener_is_dropped() {
    let sim = Sim::new(1);
    sim.run(async {
        let listener = sim.env(2).net.listen("two").await.unwrap();
        assert_eq!(sim.env(3).net.listen("two").await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Unreachable(_))));
        let _listener = sim.env(3).net.listen("two").await.unwrap();
        call(&sim.env(1).net).await.unwrap();
    });
}

#[test]
fn nobody_ever_listening_is_unreachable() {
    let sim = Sim::new(1);
    sim.run(async {
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Unreachable(_))));
    });
}
