//! The checkout under leaders that come and go: money and stock are conserved, paid means charged and taken, every saga ends, and
//! whoever was told something was told the truth.
use corduroy_tests::shop_sim::{self, Event, Load, Tally};

/// `corduroy_tests::shop_sim` with nothing but checkouts.
#[test]
fn money_and_stock_are_conserved_and_every_checkout_ends_whoever_leads() {
    let mut all = Tally::default();
    for seed in 0..8 {
        match shop_sim::run(seed, &[Load::Checkout], None) {
            Ok(passed) => all.add(&passed.tally),
            Err(failed) => panic!("{failed}"),
        }
    }
    assert!(all.of(Event::Confirmed) > 100, "few orders were confirmed\n{all}");
    for event in [Event::OutOfCredit, Event::OutOfStock, Event::Cancelled, Event::Repeated] {
        assert!(all.of(event) > 0, "{event:?} never happened\n{all}");
    }
}
