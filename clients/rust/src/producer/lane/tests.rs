//! A lane against a partition that keeps its promises, and a network that keeps none.
use super::*;
use crate::{Record, client::encode, error::Hint, tests::fold::Partition};
use proptest::prelude::*;
use std::{ops::Range, time::Duration};
use tokio::sync::Semaphore;

/// How long a record is tried, in ticks.
const PATIENCE: u64 = 6;
const TICK: Duration = Duration::from_secs(1);

/// What was sent together, and its answer.
struct Sent {
    numbers: Range<usize>,
    answer: oneshot::Receiver<Result<Appended, Error>>,
}

struct Bench {
    lane: Lane,
    partition: Partition,
    began: Instant,
    ticks: u64,
    numbers: usize,
    sent: Vec<Sent>,
    /// On the stream, not arrived yet.
    wire: VecDeque<Arc<v1::AppendStreamRequest>>,
    /// Arrived; the answer has not.
    answers: VecDeque<(u64, Result<Appended, Error>)>,
    /// The stream takes nothing more.
    broken: bool,
    /// What was on streams that are gone: it may still arrive.
    late: Vec<Arc<v1::AppendStreamRequest>>,
}

fn refusal(reason: &str, found: Option<u64>) -> Error {
    Error::from_reason(reason, reason.to_owned(), Hint { found, ..Hint::default() }, None)
}

fn appended(first_offset: u64, count: usize) -> Appended {
    let count = u32::try_from(count).expect("few");
    Appended { partition: 0, first_offset, count, term: 1, time: std::time::SystemTime::UNIX_EPOCH }
}

impl Bench {
    fn new(idempotent: bool, stop_at_failure: bool) -> Self {
        let limits = Limits { requests: 4, request_bytes: 1 << 20, request_records: 3 };
        Bench {
            lane: Lane::new(("orders", 0), idempotent.then_some([7; 16]), limits, stop_at_failure),
            partition: Partition::default(),
            began: Instant::now(),
            ticks: 0,
            numbers: 0,
            sent: Vec::new(),
            wire: VecDeque::new(),
            answers: VecDeque::new(),
            broken: false,
            late: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.began + TICK * u32::try_from(self.ticks).expect("few")
    }

    fn push(&mut self, count: usize) {
        self.push_of(count, count);
    }

    fn push_of(&mut self, count: usize, size: usize) {
        let numbers = self.numbers..self.numbers + count;
        self.numbers = numbers.end;
        let records = encode(numbers.clone().map(|number| Record::new(number.to_string())).collect());
        let (reply, answer) = oneshot::channel();
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is new");
        let due = self.now() + TICK * PATIENCE as u32;
        self.lane.push(Job { records, size, due, reply: Reply::Delivery { reply, _room: room } });
        self.sent.push(Sent { numbers, answer });
    }

    fn send(&mut self) {
        while let Some(request) = self.lane.next_to_send() {
            self.wire.push_back(request);
        }
    }

    /// The next request arrives, at a node that leads or at one that does not.
    fn arrive(&mut self, leads: bool) {
        let Some(request) = self.wire.pop_front() else { return };
        let append = request.append.as_ref().expect("a request appends");
        let outcome = match (self.broken, leads) {
            (true, _) => Err(refusal("PRECEDING_FAILED", None)),
            (false, false) => Err(refusal("NOT_LEADER", None)),
            (false, true) => {
                let taken = self.partition.take(append);
                taken.map_err(|(reason, found)| refusal(reason, found)).map(|at| appended(at, append.records.len()))
            }
        };
        self.broken |= !leads;
        self.answers.push_back((request.correlation_id, outcome));
    }

    fn answer(&mut self) {
        let Some((id, outcome)) = self.answers.pop_front() else { return };
        let next = match outcome {
            Ok(appended) => self.lane.acknowledged(id, appended),
            Err(error) => self.lane.refused(id, error),
        };
        match next {
            Next::GoOn => {}
            Next::Leave(Error::Protocol(text)) => panic!("{text}"),
            Next::Leave(_) => self.lose(),
        }
    }

    /// Another stream.
    fn lose(&mut self) {
        self.lane.lost();
        self.answers.clear();
        let wire = mem::take(&mut self.wire);
        if !mem::take(&mut self.broken) {
            self.late.extend(wire);
        }
    }

    fn arrive_late(&mut self, which: usize) {
        if self.late.is_empty() {
            return;
        }
        let request = self.late.swap_remove(which % self.late.len());
        // Nobody hears the answer.
        let _ = self.partition.take(request.append.as_ref().expect("a request appends"));
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if self.lane.expire(self.now(), &Error::Timeout("time is up".into())) {
            self.lose();
        }
    }

    fn settle(&mut self) {
        while !self.lane.is_idle() {
            self.send();
            self.arrive(true);
            self.answer();
        }
    }

    /// Each answer against what is in the partition in the end.
    fn check(mut self, in_order: bool) {
        while !self.late.is_empty() {
            self.arrive_late(0);
        }
        let log: Vec<usize> = self.partition.log.iter().map(|value| value.parse().expect("a number")).collect();
        let mut seen = log.clone();
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "something is there twice: {log:?}");
        assert!(!in_order || seen == log, "the order is another one: {log:?}");
        for Sent { numbers, mut answer } in self.sent {
            let there: Vec<usize> = log.iter().copied().filter(|number| numbers.contains(number)).collect();
            let all: Vec<usize> = numbers.clone().collect();
            match answer.try_recv().unwrap_or_else(|_| panic!("{numbers:?} have no answer")) {
                Ok(ack) => {
                    let at = usize::try_from(ack.first_offset).expect("small");
                    assert_eq!(log.get(at..at + numbers.len()), Some(&all[..]), "{numbers:?} were said to be at {at}");
                }
                Err(Error::UnknownOutcome(_)) => assert!(there.is_empty() || there == all, "{there:?} of {numbers:?}"),
                Err(Error::AlreadyAppended(_)) => panic!("{numbers:?}: a request has changed its bounds"),
                Err(error) => assert!(there.is_empty(), "{numbers:?} are there, and were answered with {error}"),
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Push(usize),
    Send,
    Arrive,
    ArriveElsewhere,
    Answer,
    Lose,
    ArriveLate(usize),
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..3_usize).prop_map(Event::Push),
        4 => Just(Event::Send),
        5 => Just(Event::Arrive),
        1 => Just(Event::ArriveElsewhere),
        5 => Just(Event::Answer),
        1 => Just(Event::Lose),
        1 => (0..8_usize).prop_map(Event::ArriveLate),
        1 => Just(Event::Tick),
    ]
}

fn run(mut bench: Bench, events: Vec<Event>) -> Bench {
    for event in events {
        match event {
            Event::Push(count) => bench.push(count),
            Event::Send => bench.send(),
            Event::Arrive => bench.arrive(true),
            Event::ArriveElsewhere => bench.arrive(false),
            Event::Answer => bench.answer(),
            Event::Lose => bench.lose(),
            Event::ArriveLate(which) => bench.arrive_late(which),
            Event::Tick => bench.tick(),
        }
    }
    bench.settle();
    bench
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_the_network_does_every_answer_is_true_and_the_order_is_kept(events in prop::collection::vec(event(), 0..120)) {
        run(Bench::new(true, false), events).check(true);
    }

    #[test]
    fn with_stop_at_failure_what_is_there_is_a_prefix_of_what_was_sent(events in prop::collection::vec(event(), 0..120)) {
        let mut bench = run(Bench::new(true, true), events);
        while !bench.late.is_empty() {
            bench.arrive_late(0);
        }
        let prefix: Vec<String> = (0..bench.partition.log.len()).map(|number| number.to_string()).collect();
        prop_assert_eq!(&bench.partition.log, &prefix);
        bench.check(true);
    }

    /// Records without numbers are not repeated; nothing is promised of their order once an answer was lost.
    #[test]
    fn what_is_not_numbered_is_sent_once_at_most(events in prop::collection::vec(event(), 0..120)) {
        run(Bench::new(false, false), events).check(false);
    }
}

#[test]
fn what_waits_while_requests_are_in_flight_gathers_into_the_next_one() {
    let mut bench = Bench::new(true, false);
    bench.push(1);
    bench.send();
    (0..5).for_each(|_| bench.push(1));
    bench.send();
    let counts: Vec<usize> = bench.wire.iter().map(|r| r.append.as_ref().expect("appends").records.len()).collect();
    assert_eq!(counts, [1, 3, 2], "at most three records go into one");
    bench.settle();
    bench.check(true);
}

#[test]
fn no_more_requests_are_in_flight_than_allowed() {
    let mut bench = Bench::new(true, false);
    (0..30).for_each(|_| bench.push(1));
    bench.send();
    assert_eq!((bench.wire.len(), bench.lane.sent()), (4, 4));
    bench.arrive(true);
    bench.answer();
    bench.send();
    assert_eq!(bench.lane.sent(), 4);
}

#[test]
fn a_wrong_record_fails_alone_though_it_was_gathered_with_others() {
    let mut bench = Bench::new(true, false);
    (0..3).for_each(|_| bench.push(1));
    bench.send();
    let id = bench.wire.pop_front().expect("one request").correlation_id;
    let Next::Leave(_) = bench.lane.refused(id, refusal("RECORD_TOO_LARGE", None)) else { panic!("it was refused") };
    bench.lose();
    bench.send();
    assert_eq!(bench.wire.len(), 3, "whose fault it was shows one by one");
    bench.arrive(true);
    bench.answer();
    let id = bench.wire.pop_front().expect("two more").correlation_id;
    bench.lane.refused(id, refusal("RECORD_TOO_LARGE", None));
    bench.lose();
    bench.settle();
    let outcomes: Vec<_> = bench.sent.iter_mut().map(|sent| sent.answer.try_recv().expect("answered")).collect();
    assert!(matches!(&outcomes[..], [Ok(_), Err(Error::RecordTooLarge(_)), Ok(_)]), "{outcomes:?}");
    assert_eq!(bench.partition.log, ["0", "2"]);
}

#[test]
fn where_batches_must_be_smaller_less_is_gathered_from_then_on() {
    let mut bench = Bench::new(true, false);
    bench.lane.limits = Limits { requests: 1, request_bytes: 16 << 10, request_records: 100 };
    (0..8).for_each(|_| bench.push_of(1, 4 << 10));
    bench.send();
    let request = bench.wire.pop_front().expect("one request");
    assert_eq!(request.append.as_ref().expect("appends").records.len(), 4);
    bench.lane.refused(request.correlation_id, refusal("BATCH_TOO_LARGE", None));
    bench.lose();
    (0..4).for_each(|_| {
        bench.send();
        bench.arrive(true);
        bench.answer();
    });
    bench.send();
    assert_eq!(bench.wire[0].append.as_ref().expect("appends").records.len(), 2);
    bench.settle();
    bench.check(true);
}

#[test]
fn a_producer_that_was_forgotten_goes_on_as_a_new_one() {
    let mut bench = Bench::new(true, false);
    bench.push(2);
    bench.settle();
    bench.partition.forget_producers();
    bench.push(1);
    bench.settle();
    assert_eq!(bench.partition.log, ["0", "1", "2"]);
    bench.check(true);
}

#[test]
fn a_producer_that_was_fenced_off_ends() {
    let mut bench = Bench::new(true, false);
    bench.push(1);
    bench.send();
    let id = bench.wire.pop_front().expect("one request").correlation_id;
    bench.lane.refused(id, refusal("PRODUCER_FENCED", Some(9)));
    bench.push(1);
    for mut sent in bench.sent {
        let answer = sent.answer.try_recv().expect("answered");
        assert!(matches!(answer, Err(Error::ProducerFenced { current: 9, .. })), "{answer:?}");
    }
}

#[test]
fn a_mark_is_answered_when_everything_before_it_is() {
    let mut bench = Bench::new(true, false);
    let mark = |bench: &mut Bench| {
        let (reply, answer) = oneshot::channel();
        bench.lane.push(Job { records: Vec::new(), size: 0, due: bench.now(), reply: Reply::Mark(reply) });
        answer
    };
    assert!(mark(&mut bench).try_recv().is_ok(), "nothing is before it");
    bench.push(1);
    bench.send();
    bench.push(1);
    let mut behind = mark(&mut bench);
    bench.arrive(true);
    bench.answer();
    assert!(behind.try_recv().is_err(), "the second record is still under way");
    bench.settle();
    assert!(behind.try_recv().is_ok());
}
