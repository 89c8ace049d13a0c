//! Reads of many keys at once, some of them with options: each key's is recorded like one of its own.

use std::collections::HashMap;
use std::time::Duration;

use cachetier::{CallOptions, LoadError, Tiers};
use tokio::time::timeout;

use super::work::{Begun, Failed, Loader, Work, policy};
use crate::event::{Got, Row};
use crate::layout::{Class, Key, Tag};
use crate::limits::GIVEN_UP;

/// How many keys are drawn for a batch; those of another policy than the first are left out.
const DRAWN: usize = 12;

impl Work {
    /// Reads some keys of one policy, one of them twice, through one loader or without any.
    pub(super) async fn read_many(&self, first: Key, dice: &mut fastrand::Rng) {
        let alike = |key: &Key| key.class() == first.class() && key.0 % 2 == first.0 % 2;
        let others = (0..DRAWN).map(|_| self.zipf.draw(dice)).filter(alike);
        let keys: Vec<Key> = std::iter::once(first).chain(others).chain([first]).collect();
        let begun: Vec<Begun> = keys.iter().map(|key| self.begun(*key)).collect();
        let (options, loads, loader) = (drawn(dice), dice.u32(0..4) > 0, Loader::drawn(dice));
        // One in ten callers goes away.
        let limit = if dice.u32(0..10) == 0 { Duration::from_micros(dice.u64(0..4_000)) } else { GIVEN_UP };
        let left = if limit == GIVEN_UP { Got::Overdue } else { Got::Dropped };
        let read =
            async { if loads { self.load_many(&keys, options, loader).await } else { self.look_at_many(&keys, options).await } };
        let got = timeout(limit, read).await.unwrap_or_else(|_| vec![left; keys.len()]);
        for ((key, begun), got) in keys.into_iter().zip(begun).zip(got) {
            self.tell(key, begun, got, false);
        }
    }

    async fn look_at_many(&self, keys: &[Key], options: CallOptions) -> Vec<Got> {
        let rows = self.cache.with(options).get_many::<Row>(keys.iter().map(|key| key.text())).await;
        rows.into_iter().map(|row| row.map_or(Got::Nothing, Got::Row)).collect()
    }

    async fn load_many(&self, keys: &[Key], options: CallOptions, loader: Loader) -> Vec<Got> {
        let Some(first) = keys.first() else { return Vec::new() };
        let by_text: HashMap<String, Key> = keys.iter().map(|key| (key.text(), *key)).collect();
        let rules = policy(*first).tags_with(|row: &Row| row.key.tags().map(Tag::text));
        let load = async |missing: Vec<String>| {
            let mut rows = Vec::with_capacity(missing.len());
            for (nth, text) in missing.into_iter().enumerate() {
                let key = *by_text.get(&text).ok_or(Failed)?;
                rows.push((text, self.run(key, if nth == 0 { loader } else { Loader::Quick }).await?));
            }
            Ok::<_, Failed>(rows)
        };
        let failed = match self.cache.with(options).get_or_load_many(keys.iter().map(|key| key.text()), rules, load).await {
            Ok(rows) if rows.iter().all(Option::is_some) => return rows.into_iter().flatten().map(Got::Row).collect(),
            Ok(rows) => {
                self.complain(format!("a batch of {keys:?} has brought {} rows", rows.iter().flatten().count()));
                Got::Failed
            }
            Err(LoadError::Loader(_) | LoadError::Panicked(_) | LoadError::TimedOut(_)) => Got::Failed,
            Err(LoadError::Deadline(_)) => Got::Overdue,
            Err(LoadError::Unproven) if first.class() == Class::Fail => Got::Unproven,
            Err(error) => {
                self.complain(format!("a read of {keys:?}: {error:?}"));
                Got::Failed
            }
        };
        vec![failed; keys.len()]
    }
}

/// Half of the calls are as all others.
fn drawn(dice: &mut fastrand::Rng) -> CallOptions {
    let usual = CallOptions::new();
    match dice.u32(0..12) {
        0 => usual.reads(Tiers::L2).writes(Tiers::Neither),
        1 => usual.writes(Tiers::L1),
        2 => usual.writes(Tiers::L2),
        3 => usual.reads(Tiers::L1),
        4 => usual.fresh(),
        5 => usual.fresh().writes(Tiers::L1),
        _ => usual,
    }
}
