use super::*;
use crate::{
    testing::{SimLink, SimNet, SimTasks},
    world::conformance,
};
use corduroy_proto::v1::{Packet, PeerMessage, PeerRequest, ReadIndexRequest, peer_message::Body, peer_request};
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
    let sim = Sim::seed(1);
    sim.run(async { conformance::net(&sim.env(1).net, &sim.env(2).net, "two").await });
}

#[test]
fn packets_arrive_in_order_and_take_the_latency() {
    let sim = Sim::seed(1);
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
    let sim = Sim::seed(1);
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
    let sim = Sim::seed(1);
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
    let sim = Sim::seed(1);
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
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Refused(_))));
        assert!(sim.elapsed() - start < ms(2), "a dead process is refused at once");
        let _listener = sim.restart(2).net.listen("two").await.unwrap();
        call(&sim.env(1).net).await.unwrap();
    });
}

#[test]
fn a_machine_without_power_is_silent() {
    let sim = Sim::seed(1);
    sim.run(async {
        let (_listener, mut caller, _callee) = pair(&sim).await;
        sim.power_cut(2);
        assert!(receives_nothing_for(&mut caller, ms(4900)).await);
        assert!(matches!(receive(&mut caller).await, Err(NetError::Lost(_))));
        let start = sim.elapsed();
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Unreachable(_))), "nobody is there to refuse");
        assert_eq!(sim.elapsed() - start, Duration::from_secs(1));
    });
}

#[test]
fn a_machine_that_is_back_resets_the_connections_it_does_not_know() {
    let sim = Sim::seed(1);
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
    let sim = Sim::seed(1);
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
    let sim = Sim::seed(1);
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
    let sim = Sim::seed(1);
    sim.run(async {
        let listener = sim.env(2).net.listen("two").await.unwrap();
        assert_eq!(sim.env(3).net.listen("two").await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Refused(_))));
        let _listener = sim.env(3).net.listen("two").await.unwrap();
        call(&sim.env(1).net).await.unwrap();
    });
}

#[test]
fn nobody_ever_listening_is_refused() {
    let sim = Sim::seed(1);
    sim.run(async {
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Refused(_))));
    });
}

/// What stands still may go on: only the end of a process is told by a refusal.
#[test]
fn a_listener_that_stands_still_or_takes_no_more_is_not_refused() {
    let sim = Sim::seed(1);
    sim.run(async {
        let _listener = sim.env(2).net.listen("two").await.unwrap();
        sim.pause(2);
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Unreachable(_))));
        sim.resume(2);
        let mut taken = Vec::new();
        let full = loop {
            match call(&sim.env(1).net).await {
                Ok(connection) => taken.push(connection),
                Err(error) => break error,
            }
            assert!(taken.len() < 1_000, "nothing bounds the connections nobody takes");
        };
        assert!(matches!(full, NetError::Unreachable(_)), "{full}");
    });
}

/// How long each of `count` packets was on its way from node 1 to node 2.
async fn delays(sim: &Sim, count: u64) -> Vec<Duration> {
    let (_listener, caller, mut callee) = pair(sim).await;
    let mut delays = Vec::new();
    for i in 0..count {
        let sent = sim.elapsed();
        caller.outgoing.send(packet(&i.to_string())).await.unwrap();
        assert_eq!(receive(&mut callee).await.unwrap(), i.to_string(), "nothing is lost on a connection");
        delays.push(sim.elapsed() - sent);
    }
    delays
}

#[test]
fn a_lossy_link_stalls_and_loses_nothing() {
    let sim = Sim::seed(1);
    sim.run(async {
        sim.set_link(1, 2, SimLink { loss_percent: 20, ..SimLink::default() });
        let delays = delays(&sim, 200).await;
        let stalled = delays.iter().filter(|delay| **delay >= ms(200)).count();
        assert!((20..80).contains(&stalled), "{stalled} of 200 packets were sent again");
    });
}

#[test]
fn a_link_may_have_latencies_and_a_width_of_its_own() {
    let sim = Sim::seed(1);
    sim.run(async {
        sim.set_link(1, 2, SimLink { latency: Some(ms(30)..=ms(40)), ..SimLink::default() });
        assert!(delays(&sim, 20).await.iter().all(|delay| (ms(30)..ms(41)).contains(delay)));
    });
    let sim = Sim::seed(2);
    sim.run(async {
        sim.set_link(1, 2, SimLink { bytes_per_second: Some(1000), ..SimLink::default() });
        let (_listener, caller, mut callee) = pair(&sim).await;
        let start = sim.elapsed();
        for _ in 0..3 {
            caller.outgoing.send(packet(&"x".repeat(490))).await.unwrap();
        }
        for _ in 0..3 {
            receive(&mut callee).await.unwrap();
        }
        let took = sim.elapsed() - start;
        assert!((ms(1400)..ms(1700)).contains(&took), "1500 bytes at 1000 a second took {took:?}");
    });
}

#[test]
fn a_reset_ends_the_connections_of_two_nodes_and_no_others() {
    let sim = Sim::seed(1);
    sim.run(async {
        let (mut listener, mut caller, mut callee) = pair(&sim).await;
        let third = sim.env(3).net.connect("two", Purpose::Consensus).await.unwrap();
        let mut from_third = listener.recv().await.unwrap();
        sim.reset(1, 2);
        assert!(matches!(receive(&mut caller).await, Err(NetError::Lost(_))));
        assert!(matches!(receive(&mut callee).await, Err(NetError::Lost(_))));
        third.outgoing.send(packet("still here")).await.unwrap();
        assert_eq!(receive(&mut from_third).await.unwrap(), "still here");
    });
}

#[test]
fn a_half_open_link_accepts_passes_nothing_and_is_found_out() {
    let sim = Sim::seed(1);
    sim.run(async {
        let (mut listener, before, mut at_two) = pair(&sim).await;
        sim.half_open(2, 1);
        before.outgoing.send(packet("lost")).await.unwrap();
        let after = call(&sim.env(1).net).await.expect("it is accepted");
        let mut accepted = listener.recv().await.unwrap();
        after.outgoing.send(packet("lost, too")).await.unwrap();
        assert!(receives_nothing_for(&mut at_two, ms(2000)).await);
        assert!(receives_nothing_for(&mut accepted, ms(2000)).await);
        assert!(matches!(receive(&mut at_two).await, Err(NetError::Lost(_))), "the keepalive finds out");
        assert!(matches!(receive(&mut accepted).await, Err(NetError::Lost(_))));

        sim.close_half_open(1, 2);
        let again = call(&sim.env(1).net).await.unwrap();
        let mut at_two = listener.recv().await.unwrap();
        again.outgoing.send(packet("through")).await.unwrap();
        assert_eq!(receive(&mut at_two).await.unwrap(), "through");
    });
}

/// A request for a read index, with the caller's number for it.
fn request(id: u64) -> Packet {
    let body = Some(peer_request::Body::ReadIndex(ReadIndexRequest {}));
    let request = PeerRequest { id, partition: 0, body };
    Packet { messages: vec![PeerMessage { body: Some(Body::Request(request)) }], confirmed: 7 }
}

#[test]
fn a_late_request_comes_twice_even_over_another_connection() {
    let sim = Sim::seed(3);
    sim.run(async {
        sim.set_link(1, 2, SimLink { late_percent: 100, ..SimLink::default() });
        let (mut listener, caller, mut callee) = pair(&sim).await;
        caller.outgoing.send(packet("not a request")).await.unwrap();
        assert_eq!(receive(&mut callee).await.unwrap(), "not a request");
        caller.outgoing.send(request(1)).await.unwrap();
        assert_eq!(callee.incoming.next().await.unwrap().unwrap(), request(1));
        sim.reset(1, 2);
        sim.set_link(1, 2, SimLink::default());
        let _again = call(&sim.env(1).net).await.unwrap();
        let mut callee = listener.recv().await.unwrap();
        let late = SimTasks::timeout(ms(4000), callee.incoming.next()).await.expect("it comes").unwrap().unwrap();
        let Some(Body::Request(repeated)) = &late.messages[0].body else { panic!("{late:?}") };
        assert!(repeated.id > u64::MAX / 2, "no caller waits for {}", repeated.id);
        assert_eq!(late.confirmed, 0, "and it says nothing about the sender's disk");
        assert!(receives_nothing_for(&mut callee, ms(5000)).await, "once more, and that is all");
    });
}

#[test]
fn connections_that_are_refused_on_the_way_look_like_those_of_a_process_that_is_gone() {
    let sim = Sim::seed(1);
    sim.run(async {
        let (_listener, mut caller, mut callee) = pair(&sim).await;
        sim.refuse(2, 1);
        assert!(matches!(receive(&mut caller).await, Err(NetError::Lost(_))));
        assert!(receive(&mut callee).await.is_err());
        assert!(matches!(call(&sim.env(1).net).await, Err(NetError::Refused(_))));
        assert_eq!(sim.link_stats(1, 2).refused, 1);
        call(&sim.env(3).net).await.expect("nothing is between 2 and 3");
        sim.admit(1, 2);
        call(&sim.env(1).net).await.unwrap();
    });
}
