//! How results are written.
use crate::cli::exit::Failure;
use std::io::{self, BufWriter, StdoutLock, Write};

/// The form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON value per line.
    Json,
}

/// Standard output, buffered. When the reader goes away (`| head`) the command is done, quietly.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Output { out: BufWriter::with_capacity(64 << 10, io::stdout().lock()) }
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        written(writeln!(self.out, "{line}"))
    }

    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from).or_else(|error| written(Err(error)))?;
        written(self.out.write_all(b"\n"))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        written(self.out.flush())
    }
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::refused(format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
