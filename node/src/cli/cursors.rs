//! `corduroy cursors`: how far consumers have come, and what an operator does about it.
use super::{
    block_on,
    connect::GrpcArgs,
    exit::Failure,
    output::{Format, Output, table},
    read::Target,
    records::rfc3339,
};
use corduroy_client::{Client, Cursor, ReadOptions};
use serde_json::{Value, json};

/// Shows, sets and deletes named cursors: how far consumers have come.
///
/// A cursor belongs to one partition. Everything below its offset is done. Who acquired it last has the fence that commits
/// need; to set it by hand keeps that fence.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy cursors list orders
  corduroy cursors set orders/0 mailer 0       do everything again
  corduroy cursors delete orders/0 mailer")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    grpc: GrpcArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the cursors of a topic or a partition. JSON: one array of {"partition","name","offset","lag","fence","time"}.
    List {
        /// A topic, or one partition of it: orders, orders/3.
        target: Target,
    },
    /// Sets how far a consumer has come; makes the cursor where there is none. JSON: the cursor.
    Set {
        /// The partition: orders/3.
        target: Target,
        /// The consumer's name.
        name: String,
        /// Everything below this offset is done.
        offset: u64,
    },
    /// Deletes a cursor. One that is not there is deleted already.
    Delete {
        /// The partition: orders/3.
        target: Target,
        /// The consumer's name.
        name: String,
    },
}

/// A cursor, and how far behind its partition it is.
struct Row {
    partition: u32,
    cursor: Cursor,
    lag: u64,
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let format = format.unwrap_or(Format::Text);
    block_on(async move {
        let client = args.grpc.client().await?;
        let mut out = Output::new();
        match &args.command {
            Command::List { target } => {
                let rows = list(&client, target).await?;
                match format {
                    Format::Json => out.json(&rows.iter().map(Row::json).collect::<Vec<_>>())?,
                    Format::Text if rows.is_empty() => out.line("no cursors yet")?,
                    Format::Text => {
                        let headings = ["partition", "cursor", "offset", "lag", "fence", "changed"];
                        out.line(&table(&headings, rows.iter().map(Row::cells)))?;
                    }
                }
            }
            Command::Set { target, name, offset } => {
                let row = set(&client, &target.topic, one(target)?, name, *offset).await?;
                match format {
                    Format::Json => out.json(&row.json())?,
                    Format::Text => {
                        out.line(&format!("{name} is at {offset} of {}/{}", target.topic, row.partition))?
                    }
                }
            }
            Command::Delete { target, name } => {
                client.delete_cursor(&target.topic, one(target)?, name).await?;
                match format {
                    Format::Json => out.json(&json!({ "deleted": name }))?,
                    Format::Text => out.line(&format!("deleted {name}"))?,
                }
            }
        }
        out.flush()
    })
}

/// The partition that was named.
fn one(target: &Target) -> Result<u32, Failure> {
    let topic = &target.topic;
    target.partition.ok_or_else(|| {
        Failure::usage(format!("a cursor belongs to one partition: {topic}/0, {topic}/1, ... instead of {topic}"))
    })
}

async fn list(client: &Client, target: &Target) -> Result<Vec<Row>, Failure> {
    let topic = &target.topic;
    let partitions = match target.partition {
        Some(partition) => vec![partition],
        None => client.topology(topic).await?.partitions.iter().map(|route| route.partition).collect(),
    };
    let options = ReadOptions::default();
    let mut rows = Vec::new();
    for partition in partitions {
        let cursors = client.cursors(topic, partition, &options).await?;
        let end = client.offsets(topic, partition, &options).await?.end;
        let row = |cursor: Cursor| Row { partition, lag: end.saturating_sub(cursor.offset), cursor };
        rows.extend(cursors.into_iter().map(row));
    }
    Ok(rows)
}

/// Keeps the fence there is, so that whoever has the cursor goes on with it.
async fn set(client: &Client, topic: &str, partition: u32, name: &str, offset: u64) -> Result<Row, Failure> {
    let options = ReadOptions::default();
    let fence = client.cursor(topic, partition, name, &options).await?.map_or(0, |cursor| cursor.fence);
    let cursor = client.commit_cursor(topic, partition, name, offset, fence).await?;
    let end = client.offsets(topic, partition, &options).await?.end;
    Ok(Row { partition, lag: end.saturating_sub(cursor.offset), cursor })
}

impl Row {
    fn json(&self) -> Value {
        let Cursor { name, offset, fence, time } = &self.cursor;
        json!({
            "partition": self.partition,
            "name": name,
            "offset": offset,
            "lag": self.lag,
            "fence": fence,
            "time": rfc3339(*time),
        })
    }

    fn cells(&self) -> Vec<String> {
        let Cursor { name, offset, fence, time } = &self.cursor;
        vec![
            self.partition.to_string(),
            name.clone(),
            offset.to_string(),
            self.lag.to_string(),
            fence.to_string(),
            rfc3339(*time),
        ]
    }
}
