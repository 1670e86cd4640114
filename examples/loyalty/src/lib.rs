//! Points for delivered orders.
//!
//! Whoever has an order delivered gets a point for each whole unit of money it cost, once, whatever is killed meanwhile; and may
//! spend points, once, however often the request is repeated. `docs/writing-a-service.md` walks through this file.
use corduroy_node::runtime::{At, Decide, Head, Input, PeerEvent, Refusal, Routes, Service, Unreadable};
use corduroy_proto::order;

/// The state of a customer.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Points {
    /// What can be spent.
    #[prost(uint64, tag = "1")]
    pub balance: u64,
    /// Orders that earned something.
    #[prost(uint64, tag = "2")]
    pub orders: u64,
}

/// What a service of points is asked to do, and what happened: so little that both look the same.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Change {
    /// Earn, or else spend.
    #[prost(bool, tag = "1")]
    pub earn: bool,
    /// How many.
    #[prost(uint64, tag = "2")]
    pub points: u64,
}

/// The rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loyalty;

impl Service for Loyalty {
    const NAME: &'static str = "loyalty";
    const LISTENS: &'static [&'static str] = &["order"];

    type State = Points;
    type Partition = ();
    type Event = Change;
    type Command = Change;
    type Reply = Points;

    /// Runs on the leader. The balance it looks at has everything in it that was decided before.
    fn decide(&self, head: &Head<'_, Self>, input: Input<'_, Self>, cx: &mut Decide<'_, Self>) -> Result<(), Refusal> {
        let customer = input.key.to_owned();
        let balance = head.get(&customer).unwrap_or_default().balance;
        let Change { earn, points } = *input.command;
        if !earn && points > balance {
            let few = format!("{customer} has {balance} points, not {points}");
            return Err(Refusal::new("too-few-points", few).number("balance", balance as i64));
        }
        cx.emit(&customer, *input.command);
        cx.reply_with(move |head| head.get(&customer).unwrap_or_default());
        Ok(())
    }

    /// Runs on every replica.
    fn evolve(state: &mut Option<Points>, _customer: &str, change: &Change, _at: At) {
        let points = state.get_or_insert_default();
        if change.earn {
            points.balance = points.balance.saturating_add(change.points);
            points.orders += 1;
        } else {
            points.balance = points.balance.saturating_sub(change.points);
        }
    }

    /// Runs on the leader of each partition, for every event of an order, in the order of its log.
    fn route(&self, event: &PeerEvent<'_>, to: &mut Routes<'_, Self>) -> Result<(), Unreadable> {
        let order::Event { event: happened } = event.decode()?;
        if let Some(order::event::Event::Delivered(delivered)) = happened {
            to.to(delivered.customer, Change { earn: true, points: delivered.gross.unsigned_abs() / 100 });
        }
        Ok(())
    }
}
