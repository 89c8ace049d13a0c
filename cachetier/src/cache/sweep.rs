//! The walk over all copies, now and then: gives back the memory of what is past its end, and finds out whether the tag table has become too
//! small. What a share of needless misses is estimated by is `rule::needless`'s.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::coherence::instance::Instance;
use crate::l1::Facts;
use crate::rule::needless::{Census, Episode, WHOLE};

/// Walks every so often until it is dropped, and warns once an episode in which the share of needless misses reaches `limit`.
pub(super) async fn sweep(instance: Arc<Instance>, every: Duration, limit: u64) {
    let mut episode = Episode::default();
    loop {
        sleep(every).await;
        let mut census = instance.view.census();
        let count = |facts: &Facts| {
            census.count(facts.born, facts.tags.len() + facts.prefixes.len());
            // What the table hides stays: it is what is counted here.
            false
        };
        instance.l1.sweep(|| instance.now(), count).await;
        instance.needless.set(census.share());
        if episode.begins(&census, limit) {
            warn(&instance, &census);
        }
    }
}

fn warn(instance: &Instance, census: &Census) {
    let thousandths = census.share().saturating_mul(1_000) / WHOLE;
    tracing::warn!(
        namespace = %instance.namespace,
        part = instance.part,
        needless = format_args!("{}.{} %", thousandths / 10, thousandths % 10),
        cells = instance.view.cells(),
        "the tag table is too small for what is invalidated: so many of the copies are missed needlessly; \
         raise `tag_cells`, invalidate fewer different tags, or give the entries a shorter ttl"
    );
}
