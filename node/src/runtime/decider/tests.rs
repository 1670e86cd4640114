//! Inputs whose facts cannot be taken, as a leader meets them: the draft is lost, and the head is taken anew.
use super::*;
use crate::runtime::{At, Decide, Head, Refusal, Unreadable};

/// Adds up. A fact of 13 cannot be taken.
struct Sums;

impl Service for Sums {
    const NAME: &'static str = "sums";
    type State = u64;
    type Partition = ();
    type Event = u64;
    type Command = u64;
    type Reply = ();

    fn decide(&self, _: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        cx.emit(input.key, *input.command);
        Ok(())
    }

    fn evolve(state: &mut Option<u64>, _: &str, event: &u64, _: At) {
        assert_ne!(*event, 13, "an unlucky number");
        *state = Some(state.unwrap_or_default() + event);
    }

    /// An event comes to three commands, of which the second is what it says.
    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let number: u64 = event.decode()?;
        to.to("first", 1);
        to.to(format!("second-{}", event.source.offset), number);
        to.to("third", 3);
        Ok(())
    }
}

fn record(offset: u64, number: u64) -> Record {
    let value = number.encode_to_vec().into();
    Record { offset, time: Timestamp(1), key: None, headers: Vec::new(), value }
}

#[test]
fn several_inputs_that_are_poison_become_dead_letters_and_what_is_beside_them_counts() {
    let place = Place { partition: 0, partitions: 1, ..Place::default() };
    let mut decider = Decider::new(Arc::new(Sums), place, State::default(), &Limits::default(), || 0);
    let events = [record(0, 2), record(1, 13), record(2, 5), record(3, 13)];
    let mut lost = 0;
    loop {
        decider.begin(Timestamp(1));
        let taken = events.iter().all(|event| {
            let source = pb::SourceCause { topic: "peer".into(), partition: 0, offset: event.offset, time: 1 };
            decider.event(&source, event) == Taken::Yes
        });
        if taken {
            break;
        }
        lost += 1;
        assert!(lost < 10, "the same draft is lost again and again");
        decider.replace_head(State::default());
    }
    let head = decider.head();
    let sums = ["first", "second-0", "second-1", "second-2", "second-3", "third"].map(|key| head.get(key));
    assert_eq!(sums, [Some(4), Some(2), None, Some(5), None, Some(12)]);
    let letters: Vec<_> = head.letters().filter_map(|letter| Some(letter.input.as_ref()?.key.as_str())).collect();
    assert_eq!(letters, ["second-1", "second-3"]);
    assert!(head.letters().all(|letter| letter.error.contains("an unlucky number")));
    assert!(head.is_blocked("second-1") && !head.is_blocked("second-2"));
}

const HOUR: u64 = 3_600_000_000;

/// What a decider with events that may be an hour old makes of this one, at this time.
fn told(decider: &mut Decider<Sums>, now: u64, time: u64, event: &Record) {
    decider.begin(Timestamp(now));
    let source = pb::SourceCause { topic: "peer".into(), partition: 0, offset: event.offset, time };
    assert_eq!(decider.event(&source, event), Taken::Yes);
    decider.seal(1, 0, BTreeMap::new(), false);
}

#[test]
fn an_event_that_is_too_old_when_its_turn_comes_is_a_dead_letter_that_can_be_redriven() {
    let place = Place { partition: 0, partitions: 1, ..Place::default() };
    let mut decider = Decider::new(Arc::new(Sums), place, State::default(), &Limits::default(), || 0)
        .max_age(Some(Duration::from_micros(HOUR)));
    let now = 10 * HOUR;
    told(&mut decider, now, now - HOUR, &record(0, 2));
    assert_eq!((decider.head().get("second-0"), decider.head().letters().count()), (Some(2), 0), "just in time");
    told(&mut decider, now, now - HOUR - 1, &record(1, 5));
    let letters: Vec<_> = decider.head().letters().cloned().collect();
    let about: Vec<_> = letters.iter().map(|letter| (letter.reason.as_str(), letter.first)).collect();
    assert_eq!(about, [("expired", now); 3], "each of its commands");
    assert_eq!(decider.head().get("second-1"), None);

    // A younger one of the same key waits behind it, and has its own age when its turn comes.
    told(&mut decider, now, now, &record(2, 7));
    let parked: Vec<_> = decider.head().parked().map(|(key, inputs)| (key, inputs.len())).collect();
    assert_eq!((parked, decider.head().get("second-2")), (vec![("first", 1), ("third", 1)], Some(7)));
    let cause = |id: u8| pb::CommandCause { id: Ticket([id; 16]).to_bytes(), ..pb::CommandCause::default() };
    decider.begin(Timestamp(now + HOUR / 2));
    for letter in &letters {
        assert_eq!(decider.redrive(cause(letter.id as u8), letter.id), Taken::Yes);
    }
    let sums = ["first", "second-1", "third"].map(|key| decider.head().get(key));
    assert_eq!((sums, decider.head().letters().count()), ([Some(2), Some(5), Some(6)], 0), "it is wanted all the same");
    decider.seal(1, 0, BTreeMap::new(), false);
    decider.begin(Timestamp(now + HOUR / 2));
    assert_eq!(decider.unparked(), Some(Taken::Yes));
    decider.seal(1, 0, BTreeMap::new(), false);
    assert_eq!(decider.head().get("first"), Some(3));
    decider.begin(Timestamp(now + HOUR + 1));
    assert_eq!(decider.unparked(), Some(Taken::Yes));
    let last: Vec<_> = decider.head().letters().map(|letter| letter.reason.as_str()).collect();
    assert_eq!((decider.head().get("third"), last), (Some(6), vec!["expired"]));
}

/// Adds up, and one number is too much for it. In whatever order: nobody waits.
struct Loose;

impl Service for Loose {
    const NAME: &'static str = "loose";
    const PARKS: bool = false;
    type State = u64;
    type Partition = ();
    type Event = u64;
    type Command = u64;
    type Reply = ();

    fn decide(&self, _: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        match *input.command {
            13 => cx.fault("an unlucky number"),
            number => cx.emit(input.key, number),
        }
        Ok(())
    }

    fn evolve(state: &mut Option<u64>, _: &str, event: &u64, _: At) {
        *state = Some(state.unwrap_or_default() + event);
    }

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        to.to("sum", event.decode::<u64>()?);
        Ok(())
    }
}

#[test]
fn where_order_does_not_matter_nothing_waits_behind_a_dead_letter() {
    let place = Place { partition: 0, partitions: 1, ..Place::default() };
    let mut decider = Decider::new(Arc::new(Loose), place, State::default(), &Limits::default(), || 0);
    decider.begin(Timestamp(1));
    for event in [record(0, 2), record(1, 13), record(2, 5), record(3, 13), record(4, 1)] {
        let source = pb::SourceCause { topic: "peer".into(), partition: 0, offset: event.offset, time: 1 };
        assert_eq!(decider.event(&source, &event), Taken::Yes);
    }
    let head = decider.head();
    assert_eq!((head.get("sum"), head.letters().count(), head.parked().count()), (Some(8), 2, 0));
    assert!(head.is_blocked("sum"), "it has dead letters all the same");
    assert_eq!(decider.unparked(), None);
}

/// Always puts off what it is asked for.
struct Later;

impl Service for Later {
    const NAME: &'static str = "later";
    type State = u64;
    type Partition = ();
    type Event = u64;
    type Command = u64;
    type Reply = ();

    fn decide(&self, _: &Head<'_, Self>, _: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        cx.retry(Duration::from_secs(1));
        Ok(())
    }

    fn evolve(_: &mut Option<u64>, _: &str, _: &u64, _: At) {}

    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        to.to("key", event.decode::<u64>()?);
        Ok(())
    }
}

/// Were it put off, what waits behind it would go first, and who asked would never hear of it.
#[test]
fn a_redrive_that_has_to_wait_is_a_dead_letter_again_and_is_answered() {
    let place = Place { partition: 0, partitions: 1, ..Place::default() };
    let mut decider = Decider::new(Arc::new(Later), place, State::default(), &Limits::default(), || 0)
        .max_age(Some(Duration::from_micros(HOUR)));
    decider.begin(Timestamp(10 * HOUR));
    for (event, time) in [(record(0, 2), 1), (record(1, 3), 10 * HOUR)] {
        let source = pb::SourceCause { topic: "peer".into(), partition: 0, offset: event.offset, time };
        assert_eq!(decider.event(&source, &event), Taken::Yes);
    }
    assert_eq!((decider.head().letters().count(), decider.head().parked().count()), (1, 1), "one is too old");
    let cause = pb::CommandCause { id: Ticket([7; 16]).to_bytes(), ..pb::CommandCause::default() };
    assert_eq!(decider.redrive(cause, 1), Taken::Yes);
    let head = decider.head();
    let letters: Vec<_> = head.letters().map(|letter| (letter.reason.as_str(), letter.redriven)).collect();
    assert_eq!((letters, head.parked().count(), head.timers().count()), (vec![("exhausted", 1)], 1, 0));
    let answers: Vec<_> = decider.draft.steps.iter().flat_map(|step| &step.answers).collect();
    assert_eq!(answers.iter().map(|answer| &answer.id[..]).collect::<Vec<_>>(), [&[7; 16][..]]);
}
