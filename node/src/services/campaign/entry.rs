//! What an entry may look like.
use crate::runtime::Refusal;
use corduroy_proto::campaign as pb;

/// Characters of a name.
pub const MAX_NAME: usize = 500;

/// Rules for an entry by itself.
pub(super) fn check(entry: &pb::Entry) -> Result<(), Refusal> {
    if entry.name.trim().is_empty() {
        return Err(violated("name", "it is empty"));
    }
    // No character has more than four bytes: what is far too long is not counted.
    if entry.name.len() > 4 * MAX_NAME || entry.name.chars().count() > MAX_NAME {
        return Err(violated("name", format!("it has more than {MAX_NAME} characters")));
    }
    if entry.end < entry.start {
        return Err(violated("end", "it is before the start"));
    }
    Ok(())
}

/// The date of an event that is outside of its campaign (INV-30).
pub(super) fn outside(event: &pb::Entry, campaign: &pb::Entry) -> Option<&'static str> {
    if event.start < campaign.start {
        Some("start")
    } else if event.end > campaign.end {
        Some("end")
    } else {
        None
    }
}

/// `path` is the field, the detail says what is wrong with it.
pub(super) fn violated(path: &str, reason: impl Into<String>) -> Refusal {
    Refusal::new("rule-violated", reason).text("path", path)
}

/// There is no such campaign, or event.
pub(super) fn unknown(what: &str, id: u64) -> Refusal {
    Refusal::new(format!("unknown-{what}"), format!("there is no {what} {id}")).text("id", id.to_string())
}

/// Only versions that a condition names may change.
pub(super) fn fits(entry: &pb::Entry, condition: Option<&pb::Condition>) -> Result<(), Refusal> {
    let version = entry.version;
    let fits = condition.is_none_or(|condition| condition.any || condition.versions.contains(&version));
    let refusal = || Refusal::new("precondition-failed", format!("it is version {version} by now"));
    if fits { Ok(()) } else { Err(refusal().text("etag", format!("\"{version}\""))) }
}
