//! `corduroy payment`: accounts of the shop's users.
use super::{
    exit::Failure,
    output::Format,
    shop::{self, HttpArgs, Request},
};

/// Opens and shows accounts of the shop's users, and adds to what they have.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy payment create-user
  corduroy payment add-funds 01a21ef5-cd77-761e-b784-7b246e8ea7a0 15
  corduroy payment show 01a21ef5-cd77-761e-b784-7b246e8ea7a0

Amounts are whole units, as the routes have them.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Opens an account without credit.
    CreateUser,
    /// Adds to what a user has.
    AddFunds {
        /// Whose.
        user: String,
        /// How much.
        amount: String,
    },
    /// Takes from what a user has.
    Pay {
        /// Whose.
        user: String,
        /// How much.
        amount: String,
    },
    /// Shows what a user has.
    Show {
        /// Whose.
        user: String,
    },
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let request = match &args.what {
        What::CreateUser => Request::post("/payment/create_user"),
        What::AddFunds { user, amount } => Request::post(format!("/payment/add_funds/{user}/{amount}")),
        What::Pay { user, amount } => Request::post(format!("/payment/pay/{user}/{amount}")),
        What::Show { user } => Request::get(format!("/payment/find_user/{user}")),
    };
    shop::run(&args.http, &request, format)
}
