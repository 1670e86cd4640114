//! The client against nodes that follow a script.
mod appends;
pub(crate) mod fold;
mod merging;
mod producers;
mod rules;
mod script;
mod subscriptions;
