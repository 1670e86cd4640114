//! Lines of a file, in chunks as they become available.
use crate::cli::exit::Failure;
use bytes::Bytes;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};
use tokio::sync::mpsc;

/// A chunk is closed at this many bytes or lines, or when the next line would have to be waited for.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNK_LINES: usize = 4096;
/// Longest line. Far above what a cluster takes, and a bound on memory.
const LONGEST: u64 = 64 << 20;
/// Chunks read ahead.
const AHEAD: usize = 16;

/// Some lines, without their line ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Number of the first line, from 0.
    pub(super) first_line: u64,
    pub(super) lines: Vec<Bytes>,
}

/// Opens the input; `-` is standard input.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::refused(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Reads on a thread of its own.
pub(super) fn read(input: Box<dyn Read + Send>) -> mpsc::Receiver<Result<Chunk, Failure>> {
    let (chunks, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut lines = Lines { input: BufReader::with_capacity(CHUNK_BYTES, input), line: 0 };
        while let Some(chunk) = lines.next_chunk().transpose() {
            let last = chunk.is_err();
            if chunks.blocking_send(chunk).is_err() || last {
                return;
            }
        }
    });
    receiver
}

struct Lines<R> {
    input: BufReader<R>,
    /// Lines read so far.
    line: u64,
}

impl<R: Read> Lines<R> {
    /// The next lines, at least one; `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<Chunk>, Failure> {
        let mut chunk = Chunk { first_line: self.line, lines: Vec::new() };
        let mut bytes = 0;
        while let Some(line) = self.next_line()? {
            bytes += line.len();
            chunk.lines.push(line);
            if bytes >= CHUNK_BYTES || chunk.lines.len() >= CHUNK_LINES || !self.input.buffer().contains(&b'\n') {
                break;
            }
        }
        Ok((!chunk.lines.is_empty()).then_some(chunk))
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut line = Vec::new();
        let number = self.line + 1;
        let read = (&mut self.input).take(LONGEST).read_until(b'\n', &mut line);
        let read = read.map_err(|error| Failure::refused(format!("cannot read line {number}: {error}")))?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == LONGEST && !line.ends_with(b"\n") {
            return Err(Failure::refused(format!("line {number} is longer than {} MiB", LONGEST >> 20)));
        }
        self.line += 1;
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        Ok(Some(Bytes::from(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(input: &[u8]) -> Vec<Bytes> {
        let mut lines = Lines { input: BufReader::new(input), line: 0 };
        let mut all = Vec::new();
        while let Some(chunk) = lines.next_chunk().expect("readable") {
            assert_eq!(chunk.first_line, all.len() as u64);
            all.extend(chunk.lines);
        }
        all
    }

    #[test]
    fn line_ends_are_stripped_and_the_last_line_needs_none() {
        assert_eq!(lines_of(b"a\nb\r\nc"), ["a", "b", "c"]);
        assert_eq!(lines_of(b"a\n"), ["a"]);
        assert_eq!(lines_of(b""), Vec::<Bytes>::new());
    }

    #[test]
    fn empty_lines_are_empty_records() {
        assert_eq!(lines_of(b"\n\r\na\n"), ["", "", "a"]);
    }

    #[test]
    fn carriage_returns_inside_a_line_and_at_an_unended_last_line_are_kept() {
        assert_eq!(lines_of(b"a\rb\r\nc\r"), ["a\rb", "c\r"]);
    }

    #[test]
    fn many_lines_come_in_chunks_that_follow_each_other() {
        let text: String = (0..20_000).map(|n| format!("{n}\n")).collect();
        let lines = lines_of(text.as_bytes());
        assert_eq!(lines.len(), 20_000);
        assert_eq!(lines[19_999], "19999");
    }
}
