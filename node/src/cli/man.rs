//! `corduroy man`: the manual pages.
use super::{
    exit::{self, Failure},
    output::Output,
};
use std::path::PathBuf;

/// Writes the manual pages, or prints the first one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy man | man -l -                          the page of the program
  corduroy man --dir /usr/local/share/man/man1     a page of each command")]
pub(super) struct Args {
    /// Where they go; it must be there. Default: the page of the program is printed.
    #[arg(long, value_name = "DIR", env = "CORDUROY_DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args, command: &clap::Command) -> Result<(), Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone())
            .render(&mut page)
            .map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
        let mut out = Output::new();
        out.line(String::from_utf8_lossy(&page).trim_end())?;
        return out.flush();
    };
    clap_mangen::generate_to(command.clone(), dir)
        .map_err(|error| Failure::new(exit::FAILED, format!("{}: {error}", dir.display())))
}
