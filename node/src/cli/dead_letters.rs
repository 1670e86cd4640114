//! `corduroy dead-letters`: what services could not decide.
use super::{
    exit::Failure,
    output::Format,
    shop::{self, HttpArgs, Request},
};
use serde_json::json;

/// Lists, shows, redrives and discards dead letters.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy dead-letters list --service voucher
  corduroy dead-letters show voucher-2-17            what was to be decided, and why it was not
  corduroy dead-letters redrive voucher-2-17         once what was wrong is mended
  corduroy dead-letters redrive --service voucher    all of them
  corduroy dead-letters discard voucher-2-17 --reason 'a duplicate'

What comes later with the same key waits behind a dead letter, until that is redriven or discarded.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists them.
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Shows one, with what was to be decided.
    Show {
        /// Which.
        id: String,
    },
    /// Runs one, or those a filter names, again.
    Redrive {
        /// Which; default: all that the filter names.
        #[arg(required_unless_present_any = ["service", "reason", "of_key"])]
        id: Option<String>,
        #[command(flatten)]
        filter: Filter,
    },
    /// Gives one up. What waits behind it goes on.
    Discard {
        /// Which.
        id: String,
        /// Why it is never done.
        #[arg(long, value_name = "TEXT", env = "CORDUROY_REASON")]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Of this service.
    #[arg(long, value_name = "NAME", env = "CORDUROY_SERVICE")]
    service: Option<String>,
    /// invalid, fault, exhausted or expired.
    #[arg(long, value_name = "REASON", env = "CORDUROY_REASON")]
    reason: Option<String>,
    /// With this key.
    #[arg(long, value_name = "KEY", env = "CORDUROY_OF_KEY")]
    of_key: Option<String>,
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let request = match &args.what {
        What::List { filter: Filter { service, reason, of_key } } => Request::get("/dead-letters").query(&[
            ("service", service.clone()),
            ("reason", reason.clone()),
            ("key", of_key.clone()),
        ]),
        What::Show { id } => Request::get(format!("/dead-letters/{id}")),
        What::Redrive { id: Some(id), .. } => Request::post(format!("/dead-letters/{id}/redrive")),
        What::Redrive { id: None, filter: Filter { service, reason, of_key } } => {
            let body = json!({ "service": service, "reason": reason, "key": of_key });
            Request { body: Some(body), ..Request::post("/dead-letters/redrive") }
        }
        What::Discard { id, reason } => {
            Request { body: Some(json!({ "reason": reason })), ..Request::post(format!("/dead-letters/{id}/discard")) }
        }
    };
    shop::run(&args.http, &request, format)
}
