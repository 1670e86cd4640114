//! `corduroy dump`: the records in the folder of a node that is not running.
use super::{
    exit::Failure,
    output::{Format, Output},
    read::Target,
    records,
};
use corduroy_client::{Header, StoredRecord};
use corduroy_log::{
    offline::{DumpError, Upto, dump},
    record::Record,
};
use std::{
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

/// Prints the records of a partition from the data directory of a stopped node, without any network.
///
/// Every byte is verified, and nothing is written. A stopped node may hold entries at its end of which it never learned
/// whether a majority has them: they are left out, and counted on standard error, unless --uncommitted is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy dump --data .corduroy/node-2 orders/0
  corduroy dump --data .corduroy/node-2 _cluster/0 | wc -l

Records are written as by `corduroy read`. A node that runs has its directory locked: read from it with
`corduroy read --node N --consistency stale` instead.")]
pub(super) struct Args {
    /// The data directory of one node.
    #[arg(long, value_name = "DIR", env = "CORDUROY_DATA")]
    data: PathBuf,
    /// TOPIC/PARTITION.
    #[arg(value_name = "TOPIC/P")]
    target: Target,
    /// Also the entries at the end that are not known to be committed; they may never have been.
    #[arg(long, env = "CORDUROY_UNCOMMITTED")]
    uncommitted: bool,
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let topic = &args.target.topic;
    let Some(partition) = args.target.partition else {
        return Err(Failure::usage(format!("which partition of {topic}? Give {topic}/0 for its first")));
    };
    let upto = if args.uncommitted { Upto::Written } else { Upto::Committed };
    let found = dump(&crate::world::environment().disk, &args.data, topic, partition, upto);
    let found = found.map_err(|error| match error {
        DumpError::Open(error) => Failure::from(error),
        DumpError::Log(error) => Failure::refused(error.to_string()),
    })?;
    let left_out = found.uncommitted_entries();
    let (mut out, format) = (Output::new(), format.unwrap_or(Format::Json));
    for record in found {
        let record = record.map_err(|error| Failure::refused(error.to_string()))?;
        records::write(&mut out, format, partition, &stored(record))?;
    }
    out.flush()?;
    if left_out > 0 {
        eprintln!("{left_out} more entries are not known to be committed; --uncommitted shows them");
    }
    Ok(())
}

/// In the form that `read` prints.
fn stored(record: Record) -> StoredRecord {
    StoredRecord {
        offset: record.offset,
        time: UNIX_EPOCH + Duration::from_micros(record.time.0),
        key: record.key,
        headers: record.headers.into_iter().map(|h| Header { name: h.name, value: h.value }).collect(),
        value: record.value,
    }
}
