//! A walk over the keys of the tier: the names that were there when it was first asked, batch by batch.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::faults::{Call, CallKind};
use super::hub::{Audience, Hub, Stray};
use crate::error::Fault;
use crate::l2::walk::{Doomed, Found, Selection, Swept, Walk};

/// One instance's walk.
#[derive(Debug)]
pub(super) struct MemoryWalk {
    hub: Arc<Hub>,
    instance: usize,
    limit: Option<Duration>,
    selection: Selection,
    /// The names that were not handed out yet, once they were listed.
    left: Option<Vec<Vec<u8>>>,
}

impl MemoryWalk {
    pub(super) fn new(hub: &Arc<Hub>, instance: usize, limit: Option<Duration>, selection: &Selection) -> Self {
        Self { hub: Arc::clone(hub), instance, limit, selection: selection.clone(), left: None }
    }
}

#[async_trait]
impl Walk for MemoryWalk {
    async fn next(&mut self, batch: usize) -> Result<Found, Fault> {
        let (hub, selection, left) = (&self.hub, &self.selection, &self.left);
        let call = Call::new(CallKind::Scan, None, self.instance);
        let list = hub.pass(
            call,
            self.limit,
            Audience::Nobody,
            |state, _| Ok(left.is_none().then(|| state.keys.names(selection, state.now()))),
            || Stray::new(Audience::Nobody, |_, _| ()),
        );
        let listed = list.await?;
        let left = self.left.get_or_insert_with(|| listed.unwrap_or_default());
        let names = left.split_off(left.len().saturating_sub(batch));
        Ok(Found { last: left.is_empty(), names })
    }

    async fn sweep(&mut self, names: &[Vec<u8>], doomed: Doomed) -> Result<Swept, Fault> {
        let stray = || {
            let names = names.to_vec();
            Stray::new(Audience::Nobody, move |state, _| {
                let now = state.now();
                state.keys.sweep(&names, doomed, now);
            })
        };
        let call = Call::new(CallKind::Purge, None, self.instance);
        self.hub
            .pass(
                call,
                self.limit,
                Audience::Nobody,
                |state, _| {
                    let now = state.now();
                    Ok(state.keys.sweep(names, doomed, now))
                },
                stray,
            )
            .await
    }
}
