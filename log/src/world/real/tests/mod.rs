//! What the real world's seams promise, against the machine the tests run on.
mod disk;
mod net;
mod tasks;
mod views;
