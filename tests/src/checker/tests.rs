//! The checker is itself checked: it passes clean runs, finds one planted violation of each rule, and agrees with a
//! slow transcription of the rules on thousands of small damaged histories.
mod clean;
mod planted;

mod property;
mod reference;
mod sample;
