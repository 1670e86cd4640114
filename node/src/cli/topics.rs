//! `corduroy topics`: what topics there are, and changes to them.
use super::{
    block_on,
    connect::AdminArgs,
    exit::Failure,
    output::{Format, Output, table},
    status::{Partition, partitions_table},
};
use corduroy_client::{Admin, NewTopic, PartitionView, TopicInfo};
use serde_json::json;

/// Lists, creates, describes and deletes topics.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  corduroy topics create orders --partitions 4
  corduroy topics create accounts --key-index     for appends and reads by key
  corduroy topics list
  corduroy topics describe orders --format json
  corduroy topics delete orders")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the topics. JSON: one array of {"name","partitions","replication","keyIndex","service"}.
    List,
    /// Creates a topic; returns when each of its partitions has a leader.
    Create {
        /// Its name: lower-case letters, digits, '.', '_' and '-', at most 63.
        name: String,
        /// How many partitions. Fixed for the life of the topic.
        #[arg(long, value_name = "N", default_value_t = 1, env = "CORDUROY_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..))]
        partitions: u32,
        /// Replicas per partition. Default: 3, or the number of nodes where there are fewer.
        #[arg(long, value_name = "R", env = "CORDUROY_REPLICATION", value_parser = clap::value_parser!(u32).range(1..))]
        replication: Option<u32>,
        /// Keep where each key has its last record, for appends that expect it and for `read --key`. Costs memory for every
        /// key.
        #[arg(long, env = "CORDUROY_KEY_INDEX")]
        key_index: bool,
        /// Only nodes that carry this service (their `services`) get replicas. Default: any node.
        #[arg(long, value_name = "NAME", env = "CORDUROY_SERVICE")]
        service: Option<String>,
    },
    /// Shows a topic's partitions. JSON: {"name","partitions":[as in status],"replication","keyIndex","service"}.
    Describe {
        /// The topic; `_cluster` is the cluster map's.
        name: String,
    },
    /// Deletes a topic with all of its records.
    Delete {
        /// The topic.
        name: String,
    },
}

pub(super) fn run(args: &Args, format: Option<Format>) -> Result<(), Failure> {
    let format = format.unwrap_or(Format::Text);
    block_on(async move {
        let admin = args.admin.admin()?;
        let mut out = Output::new();
        match &args.command {
            Command::List => list(&mut out, &admin, format).await?,
            Command::Create { name, partitions, replication, key_index, service } => {
                let new = NewTopic {
                    replication: *replication,
                    key_index: *key_index,
                    service: service.clone(),
                    ..NewTopic::new(name, *partitions)
                };
                let topic = admin.create(new).await?;
                match format {
                    Format::Json => out.json(&topic_json(&topic))?,
                    Format::Text => out.line(&format!("created {}", sentence(&topic)))?,
                }
            }
            Command::Describe { name } => describe(&mut out, &admin, name, format).await?,
            Command::Delete { name } => {
                admin.delete_topic(name).await?;
                match format {
                    Format::Json => out.json(&json!({ "deleted": name }))?,
                    Format::Text => out.line(&format!("deleted {name}"))?,
                }
            }
        }
        out.flush()
    })
}

async fn list(out: &mut Output, admin: &Admin, format: Format) -> Result<(), Failure> {
    let topics = admin.list_topics().await?;
    match format {
        Format::Json => out.json(&topics.iter().map(topic_json).collect::<Vec<_>>()),
        Format::Text if topics.is_empty() => {
            out.line("no topics yet; try: corduroy topics create orders --partitions 4")
        }
        Format::Text => {
            let rows = topics.iter().map(|t| vec![t.name.clone(), t.partitions.to_string(), t.replication.to_string()]);
            out.line(&table(&["topic", "partitions", "replication"], rows))
        }
    }
}

async fn describe(out: &mut Output, admin: &Admin, name: &str, format: Format) -> Result<(), Failure> {
    let cluster = admin.cluster().await?;
    let partitions: Vec<&PartitionView> = cluster.partitions.iter().filter(|p| p.topic == name).collect();
    let topic = match cluster.topics.into_iter().find(|topic| topic.name == name) {
        Some(topic) => topic,
        // The cluster map's own topic is in no list.
        None => match partitions.first() {
            Some(first) => TopicInfo {
                name: name.to_owned(),
                partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
                replication: u32::try_from(first.replicas.len()).unwrap_or(u32::MAX),
                key_index: false,
                service: None,
            },
            None => return Err(Failure::refused(format!("no topic named {name:?}"))),
        },
    };
    match format {
        Format::Json => {
            let rows: Vec<Partition<'_>> = partitions.into_iter().map(Partition::from).collect();
            let mut described = topic_json(&topic);
            described["partitions"] = json!(rows);
            out.json(&described)
        }
        Format::Text => {
            out.line(&sentence(&topic))?;
            out.line(&partitions_table(partitions))
        }
    }
}

fn topic_json(topic: &TopicInfo) -> serde_json::Value {
    json!({
        "name": topic.name,
        "partitions": topic.partitions,
        "replication": topic.replication,
        "keyIndex": topic.key_index,
        "service": topic.service,
    })
}

fn sentence(topic: &TopicInfo) -> String {
    let plural = if topic.partitions == 1 { "" } else { "s" };
    let keys = if topic.key_index { ", with a key index" } else { "" };
    let service = topic.service.as_ref().map_or_else(String::new, |service| format!(", on nodes of {service:?}"));
    format!(
        "{}: {} partition{plural}, {} replicas of each{keys}{service}",
        topic.name, topic.partitions, topic.replication
    )
}
