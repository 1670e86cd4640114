//! Every kind of problem: its name, its status, and what its page says.
use axum::http::StatusCode;

/// A kind of problem. The name is stable: clients tell problems apart by it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Kind {
    pub name: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
    /// How it comes about.
    pub cause: &'static str,
    /// What the caller does next.
    pub remedy: &'static str,
}

impl Kind {
    /// By its name; what has none of its own is `refused`.
    pub(in crate::gateway) fn named(name: &str) -> &'static Kind {
        find(name).unwrap_or(&REFUSED)
    }
}

/// By its name.
pub(super) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

const REFUSED: Kind = kind(
    "refused",
    StatusCode::CONFLICT,
    "The service refused",
    "A service said no, for a reason this node has no page for.",
    "Read the detail.",
);

const fn kind(
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    cause: &'static str,
    remedy: &'static str,
) -> Kind {
    Kind { name, status, title, cause, remedy }
}

const CHECK_ID: &str = "Check the id. What was just made elsewhere is found with the session token of that reply.";
const TRY_LATER: &str =
    "Nothing was done. Wait as long as Retry-After says, then ask again with the same idempotency key.";

/// All of them.
#[rustfmt::skip]
pub(in crate::gateway) const KINDS: &[Kind] = &[
    kind("malformed", StatusCode::BAD_REQUEST, "The request cannot be read",
        "It is not JSON, a field is missing or of the wrong type, or a number, a date or an id cannot be read.",
        "Correct what the errors name. An id has 1 to 64 characters of A-Z a-z 0-9 . _ ~ -"),
    kind("not-found", StatusCode::NOT_FOUND, "There is nothing here",
        "No route has this path.", "See /openapi.json for the routes there are."),
    kind("unknown-order", StatusCode::NOT_FOUND, "There is no such order", "No order has this id or ref.", CHECK_ID),
    kind("unknown-item", StatusCode::NOT_FOUND, "There is no such item",
        "No item has this id, or the order has no line of it.", CHECK_ID),
    kind("unknown-user", StatusCode::NOT_FOUND, "There is no such user",
        "No user has this id, or nothing has concerned such a customer yet.", CHECK_ID),
    kind("unknown-delivery", StatusCode::NOT_FOUND, "There is no such delivery",
        "The order has no delivery: it is not confirmed, or needs none.", CHECK_ID),
    kind("unknown-voucher", StatusCode::NOT_FOUND, "There is no such voucher", "No voucher has this code.", CHECK_ID),
    kind("unknown-campaign", StatusCode::NOT_FOUND, "There is no such campaign", "No campaign has this id.", CHECK_ID),
    kind("unknown-event", StatusCode::NOT_FOUND, "There is no such event", "No event has this id.", CHECK_ID),
    kind("unknown-dead-letter", StatusCode::NOT_FOUND, "There is no such dead letter",
        "No dead letter of this partition has this id.", CHECK_ID),
    kind("unknown-subscription", StatusCode::NOT_FOUND, "There is no such subscription",
        "No subscription has this id.", CHECK_ID),
    kind("unknown-topic", StatusCode::NOT_FOUND, "There is no such topic", "No topic has this name.", CHECK_ID),
    kind("no-undelivered-order", StatusCode::NOT_FOUND, "Nothing is to be delivered",
        "No confirmed order is undelivered.", "Place an order first."),
    kind("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "This method is not possible here",
        "The path is right, the method is not.", "Use one of those the Allow header names."),
    kind("out-of-stock", StatusCode::CONFLICT, "There is not enough of an item",
        "Less is free than was asked for.", "Ask for less, or try again when there is more."),
    kind("out-of-credit", StatusCode::CONFLICT, "The user does not have enough",
        "Less is available than it costs.", "Add funds, then try again."),
    kind("account-missing", StatusCode::CONFLICT, "The order's customer has no account",
        "Nobody has opened an account for this user.", "Open one, add funds, then try again."),
    kind("item-missing", StatusCode::CONFLICT, "An item of the order does not exist",
        "A line names an item that nobody has created.", "Remove the line, or create the item."),
    kind("price-changed", StatusCode::CONFLICT, "An item has another price",
        "The order was placed with a price that is not the item's.", "Place an order with the price that is named."),
    kind("no-delivery-slot", StatusCode::CONFLICT, "No day has room for a delivery",
        "All days that come into question are full.", "Try again later: a new day comes into question every day."),
    kind("checkout-timeout", StatusCode::CONFLICT, "The checkout took too long",
        "A participant did not answer in time. Whatever was held is given back.", "Check out again."),
    kind("checkout-cancelled", StatusCode::CONFLICT, "The checkout was cancelled",
        "Somebody cancelled the order, or replaced it, while it was checked out.", "Look at the order."),
    kind("order-closed", StatusCode::CONFLICT, "The order can no longer change",
        "It is confirmed, delivered or cancelled.", "Place another order."),
    kind("order-busy", StatusCode::CONFLICT, "The order is being checked out",
        "An attempt is running, or gives back what it held.", "Wait as long as Retry-After says, then try again."),
    kind("id-conflict", StatusCode::CONFLICT, "Another order has this id",
        "An order with this id was placed with other content.", "Choose a new id."),
    kind("not-deliverable", StatusCode::CONFLICT, "The order cannot be delivered",
        "Only confirmed orders are delivered.", "Check it out first."),
    kind("voucher-redeemed", StatusCode::CONFLICT, "The voucher is used",
        "Somebody has redeemed it.", "Use another one."),
    kind("voucher-expired", StatusCode::CONFLICT, "The voucher has expired", "Its time is over.", "Use another one."),
    kind("voucher-owner", StatusCode::CONFLICT, "The voucher is somebody else's",
        "It was issued to another customer.", "Use one of your own."),
    kind("dead-letter-settled", StatusCode::CONFLICT, "The dead letter is settled",
        "It was redriven or discarded before.", "Nothing is left to do."),
    REFUSED,
    kind("precondition-failed", StatusCode::PRECONDITION_FAILED, "It has changed meanwhile",
        "If-Match names another version.", "Read it again, then repeat the change on what it is now."),
    kind("too-large", StatusCode::PAYLOAD_TOO_LARGE, "The request is too large",
        "A body has at most 1 MiB.", "Send less at a time."),
    kind("rule-violated", StatusCode::UNPROCESSABLE_ENTITY, "The request is against a rule",
        "It can be read, but says something that cannot be, such as a negative amount.",
        "Correct what the errors name."),
    kind("idempotency-mismatch", StatusCode::UNPROCESSABLE_ENTITY, "The idempotency key is taken",
        "Another request was sent with this key.", "Use a new key for a new request."),
    kind("rate-limited", StatusCode::TOO_MANY_REQUESTS, "Too many requests",
        "This caller is over its own rate, or as many of its idempotency keys are remembered as may be (idempotency.quota).",
        TRY_LATER),
    kind("fault", StatusCode::INTERNAL_SERVER_ERROR, "The service has failed",
        "This is a defect. The request is kept as a dead letter, and nothing has happened.",
        "Tell an operator, who can have it run again once the defect is gone."),
    kind("no-quorum", StatusCode::SERVICE_UNAVAILABLE, "A partition has no leader",
        "Too few of its nodes reach each other, or it is moving to another one.", TRY_LATER),
    kind("overloaded", StatusCode::SERVICE_UNAVAILABLE, "Too much is waiting",
        "The node has as much to do as it takes on.", TRY_LATER),
    kind("outcome-unknown", StatusCode::GATEWAY_TIMEOUT, "It is not known what has happened",
        "The wait ended before there was an answer. It may have happened, or happen yet.",
        "Ask again with the same idempotency key: then it happens once, and you are told what came of it."),
];
