//! `corduroy stock`: items of the shop.
use super::{
    exit::Failure,
    output::Format,
    shop::{self, HttpArgs, Request},
};

/// Creates and shows items of the shop, and changes how many there are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy stock create 5                an item that costs 5
  corduroy stock add 01a21ef5-ce1b-70b0-bb8d-827ed769e76a 50
  corduroy stock show 01a21ef5-ce1b-70b0-bb8d-827ed769e76a")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Creates an item, of which there are none yet.
    Create {
        /// What a piece costs.
        price: String,
    },
    /// Adds pieces.
    Add {
        /// Of which item.
        item: String,
        /// How many.
        amount: String,
    },
    /// Takes pieces away.
    Subtract {
        /// Of which item.
        item: String,
        /// How many.
        amount: String,
    },
    /// Shows an item's price, and how many are free.
    Show {
        /// Which.
        item: String,
    },
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let request = match &args.what {
        What::Create { price } => Request::post(format!("/stock/item/create/{price}")),
        What::Add { item, amount } => Request::post(format!("/stock/add/{item}/{amount}")),
        What::Subtract { item, amount } => Request::post(format!("/stock/subtract/{item}/{amount}")),
        What::Show { item } => Request::get(format!("/stock/find/{item}")),
    };
    shop::run(&args.http, &request, format)
}
