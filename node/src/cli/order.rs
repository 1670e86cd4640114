//! `corduroy order`: orders of the shop.
use super::{
    exit::Failure,
    output::Format,
    shop::{self, HttpArgs, Request},
};
use serde_json::json;

/// Creates, shows, checks out and delivers orders of the shop.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy order create                  an order of 150.00 net
  corduroy order create 84.03 --customer ada
  corduroy order deliver                 the earliest one that is not delivered
  corduroy order show OS000001-ORD
  corduroy order checkout 01a21ef5-cedf-7469-ad2f-e7ea08391bfc

An order is named by its id or its reference.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Creates an order of a value, and prints its totals.
    Create {
        /// Net, with at most two decimal places.
        #[arg(default_value = "150")]
        value: String,
        /// Whose order.
        #[arg(long, value_name = "ID", env = "CORDUROY_CUSTOMER")]
        customer: Option<String>,
    },
    /// Marks an order as delivered.
    Deliver {
        /// Which; default: the earliest that is not delivered.
        order: Option<String>,
    },
    /// Shows an order.
    Show {
        /// Which.
        order: String,
    },
    /// Checks an order out, and waits for the outcome.
    Checkout {
        /// Which.
        order: String,
    },
    /// Cancels an order.
    Cancel {
        /// Which.
        order: String,
    },
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let request = match &args.what {
        What::Create { value, customer } => {
            let mut body = json!({ "netTotal": value });
            if let Some(customer) = customer {
                body["customerId"] = json!(customer);
            }
            Request { body: Some(body), ..Request::post("/orders/value") }
        }
        What::Deliver { order: Some(order) } => Request::post(format!("/orders/deliver/{order}")),
        What::Deliver { order: None } => {
            let hint = ("no-undelivered-order", "`corduroy order create` makes one");
            Request { hint: Some(hint), ..Request::post("/orders/deliver-next") }
        }
        What::Show { order } => Request::get(format!("/orders/detail/{order}")),
        What::Checkout { order } => Request::post(format!("/orders/checkout/{order}")),
        What::Cancel { order } => Request::post(format!("/orders/cancel/{order}")),
    };
    shop::run(&args.http, &request, format)
}
