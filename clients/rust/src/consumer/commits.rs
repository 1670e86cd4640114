//! What a consumer has done, and how much of that its cursor says.
use crate::{Client, Error};
use futures::future::try_join_all;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, time::sleep};

/// The cursor of a consumer, one in each of its partitions.
#[derive(Debug)]
pub(super) struct Commits {
    client: Client,
    topic: String,
    name: String,
    places: Mutex<BTreeMap<u32, Place>>,
    /// One at a time: of two for one partition the later must be last.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    fence: u64,
    done: u64,
    committed: u64,
}

impl Commits {
    /// `acquired`: by partition, offset and fence of the cursor.
    pub(super) fn new(client: Client, topic: String, name: String, acquired: BTreeMap<u32, (u64, u64)>) -> Self {
        let place = |(offset, fence)| Place { fence, done: offset, committed: offset };
        let places = acquired.into_iter().map(|(partition, acquired)| (partition, place(acquired))).collect();
        Commits { client, topic, name, places: Mutex::new(places), turn: tokio::sync::Mutex::default() }
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<u32, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything below these offsets is done.
    pub(super) fn done(&self, positions: &BTreeMap<u32, u64>) {
        let mut places = self.places();
        for (partition, position) in positions {
            if let Some(place) = places.get_mut(partition) {
                place.done = *position;
            }
        }
    }

    /// Commits what is done and not committed.
    pub(super) async fn commit(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let owed: Vec<(u32, Place)> =
            self.places().iter().filter(|(_, p)| p.done != p.committed).map(|(n, p)| (*n, *p)).collect();
        try_join_all(owed.into_iter().map(|(partition, place)| self.commit_one(partition, place))).await?;
        Ok(())
    }

    async fn commit_one(&self, partition: u32, place: Place) -> Result<(), Error> {
        let Place { fence, done, .. } = place;
        self.client.commit_cursor(&self.topic, partition, &self.name, done, fence).await?;
        if let Some(place) = self.places().get_mut(&partition) {
            place.committed = done;
        }
        Ok(())
    }

    /// Commits again and again. Ends when somebody else has the cursor; what failed otherwise is tried again.
    pub(super) async fn by_interval(self: Arc<Self>, interval: Duration, fenced: oneshot::Sender<Error>) {
        loop {
            sleep(interval).await;
            if let Err(error @ Error::CursorFenced { .. }) = self.commit().await {
                // The consumer may be gone.
                let _ = fenced.send(error);
                return;
            }
        }
    }
}
