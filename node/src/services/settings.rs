//! What may be set of the services. Only `decide` and `route` see it: a change makes no history another one.
use std::time::Duration;

/// Settings of all services; the same on all nodes, or what is decided depends on who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// An attempt to check out ends after this, when somebody waits for it.
    pub saga_timeout: Duration,
    /// An attempt nobody waits for ends after this.
    pub saga_async_timeout: Duration,
    /// A refusal that is final is told after this, although something is still being given back.
    pub saga_release_wait: Duration,
    /// Lines of an order.
    pub max_lines: usize,
    /// Whether some node of the cluster carries the delivery service. Orders are brought to nobody otherwise.
    pub delivers: bool,
    /// Deliveries of a day; `None`: any number. Needs a single partition of `delivery`.
    pub delivery_capacity: Option<i64>,
    /// The first day that comes into question, from the day of the request.
    pub delivery_lead_days: i64,
    /// How many days come into question.
    pub delivery_horizon_days: i64,
    /// What may earn vouchers, by name.
    pub voucher_strategies: Vec<String>,
    /// How long a strategy that cannot say yet is given, try by try.
    pub voucher_retry: Vec<Duration>,
    /// For how long vouchers can be redeemed; `None`: for good.
    pub voucher_valid_for: Option<Duration>,
    /// The codes of the types of activity that are counted.
    pub activity_types: Vec<String>,
    /// Value added tax: basis points from a day on (UTC, as microseconds since 1970), in order.
    pub tax: Vec<(u64, u32)>,
}

impl Default for Settings {
    fn default() -> Self {
        /// 2020-07-01 and 2021-01-01.
        const LOWERED: (u64, u32) = (1_593_561_600_000_000, 1600);
        const RAISED: (u64, u32) = (1_609_459_200_000_000, 1900);
        Settings {
            saga_timeout: Duration::from_secs(10),
            saga_async_timeout: Duration::from_secs(900),
            saga_release_wait: Duration::from_secs(5),
            max_lines: 1000,
            delivers: true,
            delivery_capacity: None,
            delivery_lead_days: 1,
            delivery_horizon_days: 14,
            voucher_strategies: vec![super::voucher::LARGE_DELIVERED.into()],
            voucher_retry: vec![Duration::from_secs(5), Duration::from_secs(25)],
            voucher_valid_for: None,
            activity_types: super::activity::TYPES.map(|known| known.code.to_owned()).into(),
            tax: vec![(0, 1900), LOWERED, RAISED],
        }
    }
}

impl Settings {
    /// The tax of an order date, in basis points.
    pub fn vat_bp(&self, order_date: u64) -> u32 {
        let rate = self.tax.iter().rev().find(|(from, _)| *from <= order_date);
        rate.map_or(0, |(_, bp)| *bp)
    }
}

/// Net plus tax, half up. `None`: more than can be counted.
pub fn gross(net: i64, vat_bp: u32) -> Option<i64> {
    let tax = net.checked_mul(i64::from(vat_bp))?.checked_add(5_000)? / 10_000;
    net.checked_add(tax)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A6: half a year at 16 percent, both of its ends to the second.
    #[test]
    fn the_tax_of_an_order_is_that_of_its_date() {
        const SECOND: u64 = 1_000_000;
        let (lowered, raised) = (1_593_561_600 * SECOND, 1_609_459_200 * SECOND);
        let settings = Settings::default();
        for (date, bp) in
            [(0, 1900), (lowered - SECOND, 1900), (lowered, 1600), (raised - SECOND, 1600), (raised, 1900)]
        {
            assert_eq!(settings.vat_bp(date), bp, "at {date}");
        }
        assert_eq!(gross(15_000, 1900), Some(17_850));
        assert_eq!((gross(3, 1600), gross(4, 1600)), (Some(3), Some(5)), "half up");
        assert_eq!(gross(i64::MAX, 1900), None);
    }
}
