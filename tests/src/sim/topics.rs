//! Clients that create and delete topics while everything else goes on.
use super::{
    clients::{Client, PAUSE},
    run::Called,
    violation::Invariant,
};
use corduroy_log::{Log, LogError, NewRecord, NewTopic};

impl Client {
    /// Creates a topic, trying until it is there, and appends a few records to each of its partitions.
    pub(super) async fn create_topic(&mut self, number: u64, partitions: u32) -> bool {
        let name = format!("extra-{number}");
        if !self.make_topic(&name, partitions).await {
            return false;
        }
        self.run.seen().topics.insert(name.clone(), (number + 1, partitions));
        let mut all = true;
        for partition in 0..partitions {
            for _ in 0..3 {
                all &= self.append(&name, number + 1, partition, 1, 50).await;
            }
        }
        all
    }

    async fn make_topic(&mut self, name: &str, partitions: u32) -> bool {
        let nodes = self.run.cluster.nodes();
        let mut turn = self.session.0 as usize;
        while !self.run.is_over() {
            let node = nodes[turn % nodes.len()];
            turn += 1;
            let replication = Some(self.run.settings.replication);
            let new = NewTopic { replication, ..NewTopic::new(name, partitions) };
            match self.run.call(node, async move |log: Log<_>| log.create_topic(new).await).await {
                // One whose outcome was unknown may have been ours.
                Called::Answered(Ok(_) | Err(LogError::TopicExists(_))) => return true,
                _ => self.run.sim().sleep(PAUSE).await,
            }
        }
        false
    }

    /// Creates a topic, appends to it, deletes it, and sees that it is gone.
    pub(super) async fn delete_topic(&mut self, number: u64) -> bool {
        let name = format!("brief-{number}");
        if !self.make_topic(&name, 1).await {
            return false;
        }
        let nodes = self.run.cluster.nodes();
        for node in nodes.iter().cycle().take(3 * nodes.len()) {
            let topic = name.clone();
            let appended = self
                .run
                .call(*node, async move |log: Log<_>| {
                    log.partition(&topic, 0)?.append(vec![NewRecord::new("brief")]).await
                })
                .await;
            if matches!(appended, Called::Answered(Ok(_))) {
                break;
            }
            self.run.sim().sleep(PAUSE).await;
        }
        let mut turn = 0;
        while !self.run.is_over() {
            let node = nodes[turn % nodes.len()];
            turn += 1;
            let topic = name.clone();
            match self.run.call(node, async move |log: Log<_>| log.delete_topic(&topic).await).await {
                Called::Answered(Ok(())) => {
                    let knows = self.run.cluster.log(node).map(|log| log.topics());
                    if knows.is_some_and(|topics| topics.iter().any(|topic| topic.name == name)) {
                        let what = format_args!("node {node} deleted topic {name} and still knows it");
                        self.run.fail(Invariant::Answers, what);
                    }
                    return true;
                }
                // Deleted by an attempt whose outcome was unknown, or not known here yet.
                Called::Answered(Err(LogError::UnknownTopic(_))) => return true,
                _ => self.run.sim().sleep(PAUSE).await,
            }
        }
        false
    }
}
