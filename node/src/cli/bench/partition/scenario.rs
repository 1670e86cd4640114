//! What can happen to a cluster while it is measured.
use std::fmt;

/// A fault, and which node it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scenario {
    /// Nothing: what the machine does by itself.
    None,
    /// A node that leads nothing is cut off from the others.
    Follower,
    /// The node that leads most is cut off from the others; clients still reach it.
    Leader,
    /// The same, and clients do not reach it either: a pulled cable, a machine without power.
    LeaderDark,
    /// It hears nothing from the others; they hear it.
    LeaderDeaf,
    /// The others hear nothing from it; it hears them.
    LeaderMute,
    /// Its connections to the others are reset again and again.
    LeaderReset,
    /// Its process is killed (kill -9), and started again at the end.
    LeaderKilled,
    /// One node after the other is told to end (SIGTERM) and started again.
    Rolling,
}

impl Scenario {
    pub(super) const ALL: [Scenario; 9] = [
        Scenario::None,
        Scenario::Follower,
        Scenario::Leader,
        Scenario::LeaderDark,
        Scenario::LeaderDeaf,
        Scenario::LeaderMute,
        Scenario::LeaderReset,
        Scenario::LeaderKilled,
        Scenario::Rolling,
    ];

    /// What happens, for a heading.
    pub(super) fn title(self) -> &'static str {
        match self {
            Scenario::None => "no fault",
            Scenario::Follower => "a follower cut off",
            Scenario::Leader => "a leader cut off from the others",
            Scenario::LeaderDark => "a leader cut off from everybody",
            Scenario::LeaderDeaf => "a leader that hears nothing",
            Scenario::LeaderMute => "a leader that is not heard",
            Scenario::LeaderReset => "a leader's connections reset",
            Scenario::LeaderKilled => "a leader killed",
            Scenario::Rolling => "a rolling restart",
        }
    }

    /// Whether clients have to go through proxies.
    pub(super) fn cuts_clients(self) -> bool {
        self == Scenario::LeaderDark
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("no scenario is hidden");
        f.write_str(value.get_name())
    }
}
