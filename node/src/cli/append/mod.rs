//! `corduroy append`: a line is a record.
//!
//! ```text
//! file ─▶ lines (a thread) ─▶ sender: partition of each line ─▶ one producer per partition ─▶ printer, in input order
//! ```
//!
//! Many appends are in flight; what is printed is what is acknowledged, in the order of the lines.

mod lines;
mod progress;

use super::{
    block_on,
    connect::GrpcArgs,
    exit::{self, Failure},
    output::{Format, Output},
};
use bytes::Bytes;
use corduroy_client::{Appended, Client, Delivery, Error, Producer, Record, partition_for_key};
use lines::Chunk;
use progress::Progress;
use serde::Serialize;
use std::{ops::RangeInclusive, path::PathBuf};
use tokio::sync::{Notify, mpsc};

/// Chunks of lines whose answers are awaited.
const CHUNKS: usize = 512;

/// Appends lines to a topic: every line is a record, without its line end (LF or CRLF).
///
/// An empty line is an empty record; a last line without a line end counts. The lines go to one partition in their
/// order: to --partition, to the partition of --key, or to the only one there is. On a topic with N partitions and
/// without either, line number n (from 0) goes to partition n modulo N.
///
/// For every record one line is printed, in the order of the input, once it is on disk at a majority.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  seq 1000 | corduroy append orders
  corduroy append orders --partition 2 --file events.jsonl
  echo 'placed' | corduroy append orders --key customer-7

JSON (the default): {\"partition\",\"offset\"} per record. Text: partition and offset.
Exit code 4: for the lines named on standard error it is unknown whether they were appended.")]
pub(super) struct Args {
    /// The topic.
    topic: String,
    /// The partition to append to.
    #[arg(long, value_name = "P", env = "CORDUROY_PARTITION")]
    partition: Option<u32>,
    /// The key of every record; without --partition it chooses the partition.
    #[arg(long, value_name = "K", env = "CORDUROY_KEY")]
    key: Option<String>,
    /// The file to read; - is standard input.
    #[arg(long, value_name = "FILE", default_value = "-", env = "CORDUROY_FILE")]
    file: PathBuf,
    #[command(flatten)]
    grpc: GrpcArgs,
}

/// A chunk on its way: which of its lines went where.
struct Sent {
    first_line: u64,
    /// Of each line, the index of its batch in `batches`.
    batch_of_line: Vec<usize>,
    /// By producer; `None` where no line of this chunk goes.
    batches: Vec<Option<Result<Delivery, Error>>>,
}

#[derive(Serialize)]
struct Ack {
    partition: u32,
    offset: u64,
}

pub(super) fn run(args: Args, format: Option<Format>) -> Result<(), Failure> {
    let format = format.unwrap_or(Format::Json);
    block_on(append(args, format))
}

async fn append(args: Args, format: Format) -> Result<(), Failure> {
    let input = lines::open(&args.file)?;
    let client = args.grpc.client().await?;
    let spread = Spread::new(&client, &args).await?;
    let chunks = lines::read(input);
    let (sent, answers) = mpsc::channel(CHUNKS);
    let failed = Notify::new();
    let key = args.key.map(Bytes::from);
    let (read, printed) = tokio::join!(send(chunks, &spread, key, sent, &failed), print(answers, format, &failed));
    // What became of the lines matters more than what became of the file.
    printed?;
    read
}

/// Which lines go to which partition.
struct Spread {
    /// Producers of the partitions in use.
    producers: Vec<Producer>,
}

impl Spread {
    async fn new(client: &Client, args: &Args) -> Result<Self, Failure> {
        let partitions = match args.partition {
            Some(partition) => vec![partition],
            None => {
                let count = client.topology(&args.topic).await?.partitions.len();
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                match &args.key {
                    Some(key) => vec![partition_for_key(key.as_bytes(), count)],
                    None => (0..count).collect(),
                }
            }
        };
        // What is there in the end is a prefix of the lines of each partition.
        let producer = |partition| client.producer(&args.topic).partition(partition).stop_at_failure().build();
        Ok(Spread { producers: partitions.into_iter().map(producer).collect() })
    }

    /// Index of the producer for a line, counted from 0.
    fn of(&self, line: u64) -> usize {
        usize::try_from(line % self.producers.len() as u64).expect("less than the number of producers")
    }
}

/// Sends chunks until there are no more, or one has failed.
async fn send(
    mut chunks: mpsc::Receiver<Result<Chunk, Failure>>,
    spread: &Spread,
    key: Option<Bytes>,
    sent: mpsc::Sender<Sent>,
    failed: &Notify,
) -> Result<(), Failure> {
    loop {
        let chunk = tokio::select! {
            biased;
            () = failed.notified() => return Ok(()),
            chunk = chunks.recv() => match chunk {
                Some(chunk) => chunk?,
                None => return Ok(()),
            },
        };
        let mut records: Vec<Vec<Record>> = spread.producers.iter().map(|_| Vec::new()).collect();
        let mut batch_of_line = Vec::with_capacity(chunk.lines.len());
        for (line, value) in (chunk.first_line..).zip(chunk.lines) {
            let batch = spread.of(line);
            batch_of_line.push(batch);
            records[batch].push(Record { key: key.clone(), headers: Vec::new(), value });
        }
        let mut batches = Vec::with_capacity(records.len());
        for (producer, records) in spread.producers.iter().zip(records) {
            batches.push(match records.is_empty() {
                true => None,
                false => Some(producer.send_batch(records).await),
            });
        }
        // The printer outlives this loop.
        let _ = sent.send(Sent { first_line: chunk.first_line, batch_of_line, batches }).await;
    }
}

/// Prints acknowledgements in the order of the lines, and reports what failed.
async fn print(mut answers: mpsc::Receiver<Sent>, format: Format, failed: &Notify) -> Result<(), Failure> {
    let mut out = Output::new();
    let mut progress = Progress::new();
    let mut report = Report::default();
    loop {
        let next = match answers.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                // Nothing more is at hand: whoever reads the output should see what there is.
                out.flush()?;
                answers.recv().await
            }
        };
        let Some(Sent { first_line, batch_of_line, batches }) = next else { break };
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            outcomes.push(match batch {
                Some(Ok(delivery)) => Some(delivery.await),
                Some(Err(error)) => Some(Err(error)),
                None => None,
            });
        }
        let mut taken = vec![0; outcomes.len()];
        for (line, batch) in (first_line..).zip(batch_of_line) {
            match outcomes[batch].as_ref().expect("the batch holds this line") {
                Ok(appended) => {
                    print_ack(&mut out, format, appended, taken[batch])?;
                    progress.acknowledged();
                }
                Err(error) => {
                    failed.notify_one();
                    report.failed(line, error);
                }
            }
            taken[batch] += 1;
        }
    }
    out.flush()?;
    progress.finish();
    report.into_result()
}

fn print_ack(out: &mut Output, format: Format, appended: &Appended, index: u64) -> Result<(), Failure> {
    let ack = Ack { partition: appended.partition, offset: appended.first_offset + index };
    match format {
        Format::Json => out.json(&ack),
        Format::Text => out.line(&format!("{}\t{}", ack.partition, ack.offset)),
    }
}

/// What became of the lines that were not acknowledged. Lines are counted from 1 for people.
#[derive(Default)]
struct Report {
    unknown: Vec<RangeInclusive<u64>>,
    refused: Vec<RangeInclusive<u64>>,
    first_unknown: Option<Error>,
    first_refusal: Option<Error>,
}

impl Report {
    fn failed(&mut self, line: u64, error: &Error) {
        let (ranges, first) = match error {
            Error::UnknownOutcome(_) => (&mut self.unknown, &mut self.first_unknown),
            _ => (&mut self.refused, &mut self.first_refusal),
        };
        let line = line + 1;
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == line => *last = *last.start()..=line,
            _ => ranges.push(line..=line),
        }
        // "Not sent because an earlier one failed" says less than why the earlier one failed.
        match first {
            Some(Error::PrecedingFailed(_)) | None => *first = Some(error.clone()),
            Some(_) => {}
        }
    }

    fn into_result(self) -> Result<(), Failure> {
        // With the advice that the command gives for such an error anywhere.
        let refused =
            |error: &Error| format!("not appended: {}: {}", lines_of(&self.refused), Failure::from(error.clone()));
        match (&self.first_unknown, &self.first_refusal) {
            (None, None) => Ok(()),
            (None, Some(error)) => {
                let code = match error {
                    Error::Unreachable(_) => exit::UNREACHABLE,
                    Error::Full { .. } => exit::FULL,
                    _ => exit::FAILED,
                };
                Err(Failure::new(code, refused(error)))
            }
            (Some(unknown), refusal) => {
                let mut text = format!("unknown whether appended: {}: {unknown}", lines_of(&self.unknown));
                if let Some(refusal) = refusal {
                    text = format!("{text}; {}", refused(refusal));
                }
                Err(Failure::new(exit::UNKNOWN_OUTCOME, text))
            }
        }
    }
}

/// `line 3`, `lines 3-7, 9`.
fn lines_of(ranges: &[RangeInclusive<u64>]) -> String {
    let one = |range: &RangeInclusive<u64>| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    };
    let shown: Vec<String> = ranges.iter().take(20).map(one).collect();
    let more = if ranges.len() > shown.len() { ", ..." } else { "" };
    let word = match ranges {
        [only] if only.start() == only.end() => "line",
        _ => "lines",
    };
    format!("{word} {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_the_lines_and_the_first_cause() {
        let mut report = Report::default();
        for line in [2, 3, 4, 8] {
            report.failed(line, &Error::UnknownOutcome("the connection broke".into()));
        }
        report.failed(5, &Error::PrecedingFailed("not sent".into()));
        report.failed(6, &Error::Unavailable("no majority".into()));
        let failure = report.into_result().expect_err("lines failed");
        assert_eq!(
            failure.to_string(),
            "unknown whether appended: lines 3-5, 9: unknown outcome: the connection broke; \
             not appended: lines 6-7: no majority"
        );
        assert_eq!(failure.code(), exit::UNKNOWN_OUTCOME);
    }

    #[test]
    fn a_full_disk_has_an_exit_code_and_advice_of_its_own() {
        let mut report = Report::default();
        let message = "no space for order/0 on the disk of node 2".to_owned();
        report.failed(0, &Error::Full { message, retry_after: std::time::Duration::ZERO });
        let failure = report.into_result().expect_err("a line failed");
        assert_eq!(failure.code(), exit::FULL);
        let text = failure.to_string();
        assert!(text.starts_with("not appended: line 1: no space for order/0 on the disk of node 2. Free"), "{text}");
    }

    #[test]
    fn nothing_failed_is_nothing_to_report() {
        assert!(Report::default().into_result().is_ok());
    }
}
