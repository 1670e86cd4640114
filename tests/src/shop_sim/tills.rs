//! Clients who pay into tills, and ask for much of it more than once.
use super::{
    run::Run,
    tally::Event,
    till::{FORBIDDEN, Ledger, Pay, Rota, Sum, Till},
    trouble::NODES,
};
use corduroy_log::{
    Consistency,
    testing::{SimTasks, SimWorld},
};
use corduroy_node::runtime::{CommandError, Service, Services, Ticket};
use openraft_rt::AsyncRuntime as _;
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

const TILLS: u64 = 7;
/// Ids that are asked for once more in the end.
const AGAIN: usize = 40;

/// What is known of what clients asked.
#[derive(Default)]
pub(super) struct Tills(Mutex<Known>);

#[derive(Default)]
struct Known {
    taken: Vec<Taken>,
    /// Tills with commands that may have been taken, or not.
    unknown: Vec<String>,
}

/// A command that was answered.
#[derive(Clone)]
struct Taken {
    id: Ticket,
    till: String,
    amount: u64,
    answer: Sum,
}

impl Tills {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("bookkeeping does not panic")
    }

    /// A client that pays all the time.
    pub(super) async fn client(self: Arc<Self>, run: Arc<Run>, number: u64) {
        let mut count = 0;
        while !run.is_over() {
            count += 1;
            self.pay(&run, number, count).await;
            run.sim().sleep(Duration::from_millis(12 + 3 * number)).await;
        }
    }

    async fn pay(&self, run: &Arc<Run>, number: u64, count: u64) {
        let (till, id) = (format!("till-{}", (count + number) % TILLS), run.shop.id());
        let amount = if count.is_multiple_of(50) { FORBIDDEN } else { count * 8 + number + 1_000 };
        let pay = Pay { amount };
        // An impatient one, who asks two nodes at once.
        let twin = count.is_multiple_of(7).then(|| {
            let (run, till, pay, node) = (run.clone(), till.clone(), pay.clone(), 1 + (count + number) % 3);
            SimTasks::spawn(async move { run.ask::<Till>(node, id, &till, &pay).await })
        });
        let answer = run.open(run.shop.command_as::<Till>(id, &till, &pay)).await;
        let twin = match twin {
            Some(twin) => twin.await.ok().flatten(),
            None => None,
        };
        match answer {
            Ok(answer) => {
                run.answered();
                let sum = &answer.value;
                run.hold(sum.paid >= amount, || format!("{till}: an answer that does not know what was paid: {sum:?}"));
                if let Some(Ok(twin)) = twin {
                    run.hold(twin.value == answer.value, || format!("{till}: one command, two answers"));
                    run.note(Event::Doubled);
                }
                let taken = Taken { id, till, amount, answer: answer.value };
                self.known().taken.push(taken.clone());
                if count.is_multiple_of(3) {
                    again(run, &taken, 1 + (count / 3 + number) % 3).await;
                }
            }
            Err(CommandError::Refused(refusal)) => {
                run.answered();
                let forbidden = refusal.value.name() == "forbidden" && amount == FORBIDDEN;
                run.hold(forbidden, || format!("{till}: {amount} is refused: {}", refusal.value));
                run.note(Event::Forbidden);
            }
            Err(CommandError::Mismatch) => run.fail(format_args!("{till}: a new id is taken for one that was used")),
            Err(_) => {
                run.note(Event::Unknown);
                self.known().unknown.push(till);
            }
        }
    }

    /// Asks for some of everything once more, from all over the run.
    pub(super) async fn repeat(&self, run: &Run) {
        let taken = self.known().taken.clone();
        let step = (taken.len() / AGAIN).max(1);
        for (number, taken) in taken.iter().step_by(step).enumerate() {
            again(run, taken, NODES[number % 3]).await;
        }
    }

    /// Every replica has every payment once, in the till, in the ledger, and by a timer.
    pub(super) async fn judge(&self, run: &Run) {
        for node in NODES {
            let (tills, pages) = (run.shop.aggregates::<Till>(node).await, run.shop.aggregates::<Ledger>(node).await);
            run.hold(tills.len() == pages.len(), || format!("{} tills, {} pages", tills.len(), pages.len()));
            let missing =
                self.known().taken.iter().map(|taken| taken.till.clone()).find(|till| !tills.contains_key(till));
            run.hold(missing.is_none(), || format!("till {missing:?}, which was paid into, is gone from node {node}"));
            for (till, sum) in &tills {
                self.judge_till(run, till, sum);
                let page = pages.get(till).cloned().unwrap_or_default();
                run.hold(!page.stale, || format!("page {till} was decided on a state that was not there: {page:?}"));
                run.hold((page.paid, page.times) == (sum.paid, sum.times), || {
                    format!("every payment is booked once: {till} has {sum:?}, the ledger {page:?}")
                });
                run.hold(page.audits == page.times, || format!("every timer of {till} fires once: {page:?}"));
                run.note_many(Event::Audited, page.audits);
            }
            for partition in 0..Ledger::PARTITIONS {
                let rota = rota(run, node, partition).await;
                run.hold(rota.as_ref().is_some_and(|rota| !rota.disordered), || {
                    format!("timers of ledger/{partition} fire when they are due, in order: {rota:?}")
                });
            }
        }
    }

    fn judge_till(&self, run: &Run, till: &str, sum: &Sum) {
        let known = self.known();
        let taken = known.taken.iter().filter(|taken| taken.till == till && taken.amount != FORBIDDEN);
        let (paid, times) = taken.fold((0, 0), |(paid, times), taken| (paid + taken.amount, times + 1));
        let certain = !known.unknown.iter().any(|unknown| unknown == till);
        drop(known);
        run.hold(!sum.stale, || format!("{till} was decided on a state that was not there: {sum:?}"));
        run.hold(!sum.backwards, || format!("log time of {till} goes back: {sum:?}"));
        run.hold(sum.paid >= paid && sum.times >= times, || {
            format!("what was answered is gone from {till}: {sum:?}, answered were {times} of {paid}")
        });
        run.hold(!certain || (sum.paid, sum.times) == (paid, times), || {
            format!("every command has one effect: {till} has {sum:?}, answered were {times} of {paid}")
        });
    }
}

async fn rota(run: &Run, node: u64, partition: u32) -> Option<Rota> {
    let asked = run.shop.on(node, async move |services: Services<SimWorld>| {
        services.partition_state::<Ledger>(partition, Consistency::Stale).await.ok()
    });
    Some(asked.await??.value)
}

/// The same command gets the answer it had, on whatever node; another one under its id is turned away.
async fn again(run: &Run, taken: &Taken, node: u64) {
    let Taken { id, till, amount, answer } = taken;
    if let Some(Ok(repeated)) = run.ask::<Till>(node, *id, till, &Pay { amount: *amount }).await {
        run.hold(repeated.value == *answer && repeated.replayed, || {
            format!("{till}: a command that was answered {answer:?} is now answered {:?}", repeated.value)
        });
        run.note(Event::Repeated);
    }
    let other = Pay { amount: amount + 1 };
    match run.ask::<Till>(node, *id, till, &other).await {
        Some(Err(CommandError::Mismatch)) => run.note(Event::Mismatched),
        Some(Ok(_) | Err(CommandError::Refused(_))) => {
            run.fail(format_args!("{till}: another command under an id that was used is not turned away"));
        }
        Some(Err(_)) | None => {}
    }
}
