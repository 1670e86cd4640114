//! The client against nodes that follow a script.
mod appends;
mod merging;
mod producers;
mod rules;
mod script;
mod subscriptions;
