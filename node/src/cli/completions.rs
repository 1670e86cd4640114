//! `corduroy completions`: what a shell needs to complete commands and flags.
use super::{exit::Failure, output::Output};
use clap_complete::Shell;

/// Prints what a shell needs to complete the commands and flags of this program.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy completions bash > /etc/bash_completion.d/corduroy
  corduroy completions zsh > ~/.zfunc/_corduroy
  corduroy completions fish > ~/.config/fish/completions/corduroy.fish")]
pub(super) struct Args {
    /// For which shell.
    shell: Shell,
}

pub(super) fn run(args: &Args, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "corduroy", &mut script);
    let mut out = Output::new();
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    out.flush()
}
