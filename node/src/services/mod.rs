//! The services of the reference systems: rules, and nothing else.
//!
//! ```text
//!   order ──CheckoutStarted──▶ payment ──held──▶ order ──StockRequested──▶ stock ──held──▶ order ──▶ OrderConfirmed
//!                                                                                          └─ or DeliveryRequested ──▶ delivery
//! ```
//!
//! Beside the saga, and never in its way: activity counts what happens to orders, account tells each customer what concerns them.
//!
//! The saga is the order itself: there is no coordinator beside it. Each arrow is an event that a partition reads by its cursor.
//! The campaign service reads nobody: what is in it is what clients said, and the time.
//! What each service promises is in `docs/services.md`.
//!
//! **Invariant**: nothing in here knows tasks, clocks, disks, networks or HTTP (`tests/tests/tidy.rs` keeps it).
pub mod account;
pub mod activity;
pub mod campaign;
pub mod delivery;
pub mod order;
pub mod payment;
pub mod stock;
pub mod voucher;

mod settings;

pub use settings::Settings;
