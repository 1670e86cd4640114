//! The scrape.
use super::Gateway;
use axum::{
    extract::State,
    http::header::{CONTENT_TYPE, HeaderName},
};

/// All metrics of this node, and the state of its partitions at this moment.
pub(super) async fn metrics(State(gateway): State<Gateway>) -> ([(HeaderName, &'static str); 1], String) {
    let shared = &gateway.shared;
    let partitions = shared.opened().map(|log| log.partitions()).unwrap_or_default();
    let infos: Vec<_> = partitions.iter().map(|partition| partition.info()).collect();
    let disk = shared.opened().map(|log| log.disk_space());
    let clock = shared.opened().map(|log| (log.clock_ahead(), log.trusts_clock()));
    let views = shared.opened().map(|log| log.views()).unwrap_or_default();
    let text = shared.metrics().render(gateway.started.elapsed(), shared.is_ready(), disk, clock, &views, &infos);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
