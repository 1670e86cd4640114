//! What a bench runs in: clusters of its own, one after the other, and Ctrl-C.
use super::{Place, cluster::Cluster};
use crate::cli::{
    exit::{self, Failure},
    up::Signals,
};
use std::ops::AsyncFnOnce;

/// Makes clusters and ends them.
///
/// **Invariant**: whatever becomes of the bench, its nodes are stopped and its folder is gone when it is over.
pub(super) struct Bed {
    place: Place,
    signals: Signals,
}

impl Bed {
    pub(super) fn prepare(place: &Place) -> Result<Self, Failure> {
        let inside = |error| Failure::start(format!("cannot make the folder {}: {error}", place.data.display()));
        std::fs::create_dir_all(&place.data).map_err(inside)?;
        Ok(Bed { place: place.clone(), signals: Signals::listen()? })
    }

    /// Runs something in a cluster that has not been started yet; ends it afterwards, and at Ctrl-C.
    pub(super) async fn with_cluster<T>(
        &mut self,
        nodes: u64,
        work: impl AsyncFnOnce(&mut Cluster) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.with_services(nodes, &["none"], work).await
    }

    /// The same, of nodes that carry these services.
    pub(super) async fn with_services<T>(
        &mut self,
        nodes: u64,
        services: &[&str],
        work: impl AsyncFnOnce(&mut Cluster) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut cluster = Cluster::prepare(&self.place, nodes, services)?;
        let outcome = tokio::select! {
            outcome = work(&mut cluster) => outcome,
            () = self.signals.next() => Err(Failure::new(exit::INTERRUPTED, "interrupted; the nodes are stopped")),
        };
        cluster.stop().await;
        outcome
    }
}
