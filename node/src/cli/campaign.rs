//! `corduroy campaign`: campaigns of the shop, and their events.
use super::{
    exit::Failure,
    output::Format,
    shop::{self, HttpArgs, Request},
};
use serde_json::json;

/// Creates, lists and deletes campaigns and their events.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy campaign create 'Black Friday' 2026-11-27T00:00:00Z 2026-11-30T23:59:59Z
  corduroy campaign create-event 0 'Night sale' 2026-11-27T20:00:00Z 2026-11-28T02:00:00Z
  corduroy campaign list --live
  corduroy campaign events 0
  corduroy campaign delete 0             with its events")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Creates a campaign.
    Create {
        /// How it is called.
        name: String,
        /// When it begins.
        start: String,
        /// When it ends.
        end: String,
        /// Whose it is.
        #[arg(long, value_name = "TENANT", env = "CORDUROY_TENANT")]
        tenant: Option<String>,
    },
    /// Creates an event of a campaign, inside of its dates.
    CreateEvent {
        /// Of which campaign.
        campaign: u64,
        /// How it is called.
        name: String,
        /// When it begins.
        start: String,
        /// When it ends.
        end: String,
    },
    /// Lists campaigns.
    List {
        /// Only those that are live now.
        #[arg(long, env = "CORDUROY_LIVE")]
        live: bool,
        /// With this in their name.
        #[arg(long, value_name = "TEXT", env = "CORDUROY_NAME")]
        name: Option<String>,
    },
    /// Shows a campaign.
    Show {
        /// Which.
        campaign: u64,
    },
    /// Lists the events of a campaign.
    Events {
        /// Of which.
        campaign: u64,
    },
    /// Deletes a campaign, with its events.
    Delete {
        /// Which.
        campaign: u64,
    },
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let request = match &args.what {
        What::Create { name, start, end, tenant } => {
            let mut body = json!({ "name": name, "startDate": start, "endDate": end });
            if let Some(tenant) = tenant {
                body["tenant"] = json!(tenant);
            }
            Request { body: Some(body), ..Request::post("/campaign-events") }
        }
        What::CreateEvent { campaign, name, start, end } => {
            let body = json!({ "name": name, "campaignEventId": campaign, "startDate": start, "endDate": end });
            Request { body: Some(body), ..Request::post("/events") }
        }
        What::List { live, name } => {
            let path = if *live { "/campaign-events/live" } else { "/campaign-events" };
            Request::get(path).query(&[("name", name.clone())])
        }
        What::Show { campaign } => Request::get(format!("/campaign-events/{campaign}")),
        What::Events { campaign } => Request::get(format!("/campaign-events/{campaign}/events")),
        What::Delete { campaign } => {
            Request { method: "DELETE", ..Request::get(format!("/campaign-events/{campaign}")) }
        }
    };
    shop::run(&args.http, &request, format)
}
