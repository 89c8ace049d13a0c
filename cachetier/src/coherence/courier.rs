//! Tells the lane what it has not confirmed, until it has; and waits for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::coherence::outbox::Outbox;
use crate::coherence::own::Teller;
use crate::error::CacheError;
use crate::l2::tier::Tier;
use crate::tasks::Tasks;

/// How long the courier rests after a failure.
const REST: Duration = Duration::from_millis(500);

/// Between two looks at an outbox that the courier empties.
const LOOK: Duration = Duration::from_millis(5);

/// Runs until it is dropped.
pub(crate) async fn carry<T: Teller>(teller: Arc<T>, tier: Arc<Tier>) {
    loop {
        while let Some(batch) = teller.outbox().batch() {
            // Read before the bump is sent: whatever is bumped again meanwhile has a later mark.
            let upto = teller.mark();
            let floor = teller.floor();
            match tier.bump(&batch.targets, floor).await {
                Ok(bumped) => {
                    // Applied first, readable then.
                    teller.end_own(&batch.targets, upto, bumped.point, None);
                    teller.outbox().told(&batch);
                }
                Err(_) => sleep(REST).await,
            }
        }
        teller.outbox().news().await;
    }
}

/// Waits until every write under way has had its answer and every invalidation is confirmed, in each part, for at most `limit`.
pub(crate) async fn delivered(parts: &[(&Tasks, &Outbox)], limit: Duration) -> Result<(), CacheError> {
    let finished = async {
        for (tasks, outbox) in parts {
            tasks.idle().await;
            while outbox.open() > 0 || outbox.len() > 0 {
                // The courier empties it; the store's own limits bound each try.
                sleep(LOOK).await;
            }
        }
    };
    timeout(limit, finished).await.map_err(|_| CacheError::Unfinished {
        writes: parts.iter().map(|(tasks, _)| tasks.open()).sum(),
        invalidations: parts.iter().map(|(_, outbox)| outbox.len().saturating_add(outbox.open())).sum(),
    })
}
