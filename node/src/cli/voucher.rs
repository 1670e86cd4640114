//! `corduroy voucher`: vouchers of the shop.
use super::{
    exit::Failure,
    output::Format,
    shop::{self, HttpArgs, Request},
};
use serde_json::json;

/// Lists, shows and redeems vouchers of the shop.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy voucher list --customer ada
  corduroy voucher show 0001V4Q8X2ZJ7C5D9N3M
  corduroy voucher redeem 0001V4Q8X2ZJ7C5D9N3M --customer ada

A delivered order of 100.00 or more, tax included, earns one of 5.00.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists vouchers.
    List {
        /// Of this customer.
        #[arg(long, value_name = "ID", env = "CORDUROY_CUSTOMER")]
        customer: Option<String>,
        /// Earned by this order.
        #[arg(long, value_name = "ID", env = "CORDUROY_ORDER")]
        order: Option<String>,
        /// Only those that are (true), or are not (false), redeemed.
        #[arg(long, value_name = "BOOL", env = "CORDUROY_REDEEMED")]
        redeemed: Option<bool>,
    },
    /// Shows a voucher.
    Show {
        /// Which.
        code: String,
    },
    /// Redeems a voucher. It can be done once.
    Redeem {
        /// Which.
        code: String,
        /// Who.
        #[arg(long, value_name = "ID", env = "CORDUROY_CUSTOMER")]
        customer: Option<String>,
        /// For which order.
        #[arg(long, value_name = "ID", env = "CORDUROY_ORDER")]
        order: Option<String>,
    },
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let request = match &args.what {
        What::List { customer, order, redeemed } => Request::get("/vouchers").query(&[
            ("customer", customer.clone()),
            ("order", order.clone()),
            ("redeemed", redeemed.map(|redeemed| redeemed.to_string())),
        ]),
        What::Show { code } => Request::get(format!("/vouchers/{code}")),
        What::Redeem { code, customer, order } => {
            let body = json!({ "customerId": customer, "orderId": order });
            Request { body: Some(body), ..Request::post(format!("/vouchers/{code}/redeem")) }
        }
    };
    shop::run(&args.http, &request, format)
}
