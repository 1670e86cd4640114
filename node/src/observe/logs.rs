//! Logs on standard error: for people on a terminal, JSON lines elsewhere.
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// `human` on a terminal, `json` elsewhere.
    #[default]
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Sets up logging for this process. `filter` is a level or a list of directives (`info,corduroy_log=debug`).
///
/// # Errors
/// A filter that cannot be read, in one sentence.
pub(crate) fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log-level {filter:?}: {error}"))?;
    let human = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A process that has a subscriber already keeps it.
    let _ = if human {
        lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
    Ok(())
}
