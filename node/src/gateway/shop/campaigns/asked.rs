//! What requests to change campaigns and events say.
use super::Kind;
use crate::gateway::{
    ask::Ask,
    caching::Tags,
    problem::Problem,
    shop::{dates, ids},
};
use axum::http::header;
use corduroy_proto::campaign as pb;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    name: String,
    start_date: String,
    end_date: String,
    tenant: Option<String>,
    #[serde(alias = "eventCampaignId")]
    campaign_event_id: Option<Value>,
}

impl Whole {
    fn of(ask: &Ask, kind: Kind) -> Result<Self, Problem> {
        let whole: Whole = ask.json()?;
        Ok(match kind {
            Kind::Campaign => Whole { campaign_event_id: None, ..whole },
            // Whose an event is says its campaign.
            Kind::Event => Whole { tenant: None, ..whole },
        })
    }

    fn dates(&self) -> Result<(u64, u64), Problem> {
        Ok((dates::parse_instant("startDate", &self.start_date)?, dates::parse_instant("endDate", &self.end_date)?))
    }

    fn tenant(&self) -> Result<Option<String>, Problem> {
        self.tenant.as_deref().map(tenant).transpose()
    }

    fn campaign(&self) -> Result<Option<u64>, Problem> {
        self.campaign_event_id.as_ref().map(campaign).transpose()
    }
}

/// A new one.
pub(super) fn create(ask: &Ask, kind: Kind) -> Result<pb::Create, Problem> {
    let whole = Whole::of(ask, kind)?;
    let ((start, end), tenant, campaign) = (whole.dates()?, whole.tenant()?, whole.campaign()?);
    if kind == Kind::Event && campaign.is_none() {
        return Err(Problem::malformed("", "missing field `campaignEventId`"));
    }
    Ok(pb::Create { name: whole.name, start, end, tenant, campaign })
}

/// Another one in its place: all of it, but for the campaign, which stays if it is not named.
pub(super) fn replace(ask: &Ask, kind: Kind) -> Result<pb::Change, Problem> {
    let whole = Whole::of(ask, kind)?;
    let ((start, end), campaign) = (whole.dates()?, whole.campaign()?);
    Ok(pb::Change {
        condition: condition(ask)?,
        tenant: Some(pb::Tenant { name: whole.tenant()? }),
        name: Some(whole.name),
        start: Some(start),
        end: Some(end),
        campaign,
    })
}

/// A merge patch (RFC 7396): what is named is as it says, `null` takes it away, and the rest stays.
pub(super) fn patch(ask: &Ask, kind: Kind) -> Result<pb::Change, Problem> {
    patch_of(&ask.json()?, kind, condition(ask)?)
}

fn patch_of(patch: &Map<String, Value>, kind: Kind, condition: Option<pb::Condition>) -> Result<pb::Change, Problem> {
    let instant = |path| text(path, patch.get(path))?.map(|text| dates::parse_instant(path, text)).transpose();
    let mut change = pb::Change {
        condition,
        name: text("name", patch.get("name"))?.map(str::to_owned),
        start: instant("startDate")?,
        end: instant("endDate")?,
        tenant: None,
        campaign: None,
    };
    match kind {
        Kind::Campaign => {
            let named = patch.get("tenant").filter(|named| !named.is_null());
            let name = text("tenant", named)?.map(tenant).transpose()?;
            change.tenant = patch.contains_key("tenant").then_some(pb::Tenant { name });
        }
        Kind::Event => {
            let named = patch.get("campaignEventId").or_else(|| patch.get("eventCampaignId"));
            change.campaign = stays("campaignEventId", named)?.map(campaign).transpose()?;
        }
    }
    Ok(change)
}

/// What cannot be taken away.
fn stays<'a>(path: &str, value: Option<&'a Value>) -> Result<Option<&'a Value>, Problem> {
    match value {
        Some(Value::Null) => Err(Problem::rule(path, "it cannot be taken away")),
        value => Ok(value),
    }
}

fn text<'a>(path: &str, value: Option<&'a Value>) -> Result<Option<&'a str>, Problem> {
    let text = |value: &'a Value| value.as_str().ok_or_else(|| Problem::malformed(path, "it is no text"));
    stays(path, value)?.map(text).transpose()
}

fn tenant(text: &str) -> Result<String, Problem> {
    Ok(ids::id("tenant", text)?.to_owned())
}

/// The id of a campaign, as a number or as its digits.
fn campaign(value: &Value) -> Result<u64, Problem> {
    let malformed = || Problem::malformed("campaignEventId", "it is no number such as 0, 1 or 2");
    value.as_u64().or_else(|| digits(value.as_str()?)).ok_or_else(malformed)
}

/// A number of nothing but digits.
pub(super) fn digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Which versions may change.
pub(super) fn condition(ask: &Ask) -> Result<Option<pb::Condition>, Problem> {
    let tags = Tags::of(ask.headers(), &header::IF_MATCH)?;
    Ok(tags.map(|tags| pb::Condition { any: tags == Tags::Any, versions: tags.versions() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(kind: Kind, patch: Value) -> Result<pb::Change, &'static str> {
        let Value::Object(patch) = patch else { panic!("it is none") };
        patch_of(&patch, kind, None).map_err(|problem| problem.name())
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        assert_eq!(patched(Kind::Campaign, json!({ "id": 7, "live": true })), Ok(pb::Change::default()));
        let change = patched(Kind::Campaign, json!({ "name": "n", "endDate": "1970/01/01 00:00:01", "tenant": "t" }));
        let tenant = |name: Option<&str>| Some(pb::Tenant { name: name.map(str::to_owned) });
        let (name, end) = (Some("n".to_owned()), Some(1_000_000));
        assert_eq!(change, Ok(pb::Change { name, end, tenant: tenant(Some("t")), ..pb::Change::default() }));
        let nobody = patched(Kind::Campaign, json!({ "tenant": null }));
        assert_eq!(nobody, Ok(pb::Change { tenant: tenant(None), ..pb::Change::default() }));
        let of_event = patched(Kind::Event, json!({ "tenant": 5, "eventCampaignId": "12" }));
        assert_eq!(of_event, Ok(pb::Change { campaign: Some(12), ..pb::Change::default() }));
    }

    #[test]
    fn what_has_to_be_there_cannot_be_taken_away() {
        for field in ["name", "startDate", "endDate", "campaignEventId"] {
            assert_eq!(patched(Kind::Event, json!({ field: null })), Err("rule-violated"), "{field}");
            assert_eq!(patched(Kind::Event, json!({ field: [] })), Err("malformed"), "{field}");
        }
        assert_eq!(patched(Kind::Campaign, json!({ "tenant": "a b" })), Err("malformed"));
        assert_eq!(patched(Kind::Campaign, json!({ "tenant": 1 })), Err("malformed"));
    }

    #[test]
    fn a_campaign_is_named_by_a_number_or_its_digits() {
        for (value, id) in [(json!(0), Some(0)), (json!("12"), Some(12)), (json!(u64::MAX), Some(u64::MAX))] {
            assert_eq!(campaign(&value).ok(), id, "{value}");
        }
        for value in [json!(-1), json!(1.5), json!("+1"), json!(""), json!("1.0"), json!(true), json!([1])] {
            assert_eq!(campaign(&value).expect_err("it is none").name(), "malformed", "{value}");
        }
    }
}
