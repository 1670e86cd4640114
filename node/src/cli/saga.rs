//! `corduroy saga`: checkouts, under way and over.
use super::{
    exit::Failure,
    output::Format,
    shop::{self, HttpArgs, Request},
};

/// Lists checkouts that are under way, and shows how an order came to be what it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy saga list                     what is under way
  corduroy saga list --older 30s         what has been for so long
  corduroy saga show OS000001-ORD        every step of an order, in all services, with what it took")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists those under way.
    List {
        /// reserving or releasing.
        #[arg(long, value_name = "STATE", env = "CORDUROY_STATE")]
        state: Option<String>,
        /// Those that began so long ago.
        #[arg(long, value_name = "TIME", env = "CORDUROY_OLDER")]
        older: Option<String>,
    },
    /// Shows an order's, with what has happened to it.
    Show {
        /// Which order.
        order: String,
    },
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let request = match &args.what {
        What::List { state, older } => {
            Request::get("/sagas").query(&[("state", state.clone()), ("older", older.clone())])
        }
        What::Show { order } => Request::get(format!("/sagas/{order}")),
    };
    shop::run(&args.http, &request, format)
}
