//! Tells the lane what it has not confirmed, until it has.

use std::sync::Arc;
use std::time::Duration;

use crate::coherence::instance::Instance;
use crate::l2::tier::Tier;

/// How long the courier rests after a failure.
const REST: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub(crate) async fn carry(instance: Arc<Instance>, tier: Arc<Tier>) {
    loop {
        while let Some(batch) = instance.outbox.batch() {
            // Read before the bump is sent: whatever is bumped again meanwhile has a later tick.
            let upto = instance.view.tick();
            let floor = instance.view.floor();
            match tier.bump(&batch.targets, floor).await {
                Ok(bumped) => {
                    // Applied first, readable then.
                    instance.end_own(&batch.targets, upto, bumped.token, None);
                    instance.outbox.told(&batch);
                }
                Err(_) => tokio::time::sleep(REST).await,
            }
        }
        instance.outbox.news().await;
    }
}
