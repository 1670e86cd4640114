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
