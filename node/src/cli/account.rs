//! `corduroy account`: customers of the shop.
use super::{
    exit::Failure,
    output::Format,
    shop::{self, HttpArgs, Request},
};

/// Shows customers of the shop, and what has concerned them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy account show ada              balance, orders and vouchers
  corduroy account events ada            everything that has concerned her, in order
  corduroy account events ada --after 12")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Shows a customer's balance, orders and vouchers.
    Show {
        /// Whose.
        customer: String,
    },
    /// Lists what has concerned a customer, by its number.
    Events {
        /// Whom.
        customer: String,
        /// Behind this number.
        #[arg(long, value_name = "SEQ", env = "CORDUROY_AFTER")]
        after: Option<u64>,
    },
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let request = match &args.what {
        What::Show { customer } => Request::get(format!("/accounts/{customer}")),
        What::Events { customer, after } => {
            let after = after.map(|after| after.to_string());
            Request::get(format!("/accounts/{customer}/events")).query(&[("after", after)])
        }
    };
    shop::run(&args.http, &request, format)
}
