//! Where entries are kept. Numbers have as many digits as the largest one, so that keys are sorted as numbers are.
//!
//! ```text
//!   c/<campaign>                a campaign
//!   e/<event>                   an event, for who knows its id
//!   m/<campaign>/e/<event>      the same, among those of its campaign
//! ```
//!
//! What happens to an event is emitted for the longer key, which has the other one as its end: it concerns both.
use corduroy_proto::campaign as pb;

/// All campaigns begin so.
pub const CAMPAIGNS: &str = "c/";
/// All events begin so.
pub const EVENTS: &str = "e/";

/// The key of a campaign.
pub fn campaign(id: u64) -> String {
    format!("{CAMPAIGNS}{id:020}")
}

/// The key of an event.
pub fn event(id: u64) -> String {
    format!("{EVENTS}{id:020}")
}

/// The events of a campaign begin so.
pub fn of_campaign(campaign: u64) -> String {
    format!("m/{campaign:020}/{EVENTS}")
}

/// The key something is asked of an entry by.
pub(super) fn of(entry: &pb::Entry) -> String {
    if entry.campaign.is_some() { event(entry.id) } else { campaign(entry.id) }
}

/// The key that what happens to an entry is emitted for.
pub(super) fn emitted(id: u64, campaign: Option<u64>) -> String {
    campaign.map_or_else(|| self::campaign(id), |campaign| format!("{}{id:020}", of_campaign(campaign)))
}

/// The keys of the entry that something was emitted for.
pub(super) fn concerned(key: &str) -> Vec<&str> {
    let short = key.find("/e/").and_then(|at| key.get(at + 1..));
    [key].into_iter().chain(short).collect()
}

/// What a key is of: the name of its kind, and its id.
pub(super) fn named(key: &str) -> (&'static str, u64) {
    let (what, digits) = match key.strip_prefix(EVENTS) {
        Some(digits) => ("event", digits),
        None => ("campaign", key.strip_prefix(CAMPAIGNS).unwrap_or(key)),
    };
    (what, digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_as_numbers_are() {
        let ids = [0, 1, 9, 10, 99, 100, u64::MAX];
        for key in [campaign, event] {
            assert!(ids.map(key).is_sorted());
            assert_eq!(ids.map(|id| named(&key(id)).1), ids);
        }
        assert!(ids.map(|id| emitted(id, Some(7))).iter().all(|key| key.starts_with(&of_campaign(7))));
        assert!(!emitted(1, Some(70)).starts_with(&of_campaign(7)));
    }

    #[test]
    fn what_happens_to_an_event_concerns_both_of_its_keys() {
        let key = emitted(5, Some(7));
        assert_eq!(concerned(&key), [key.as_str(), event(5).as_str()]);
        assert_eq!(concerned(&campaign(7)), [campaign(7).as_str()]);
        assert_eq!((named(&event(5)), named(&campaign(7))), (("event", 5), ("campaign", 7)));
        assert_eq!(named("nonsense"), ("campaign", u64::MAX));
    }
}
