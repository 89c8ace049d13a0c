//! Which keys are read most: a sample of all reads, counted within bounds. What a read is, and what the list is for, is told elsewhere.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, TryLockError};

/// One read in so many is counted, on average.
const ONE_IN: u32 = 64;

/// The longest key that is counted, in bytes.
const LONGEST: usize = 512;

/// Keys that are counted for each that is asked for: one that becomes hot needs a place before it is.
const PLACES: usize = 4;

/// Reads that are counted for each place before all counts are halved: what was hot once gives way within a few times as many. Fewer would leave too
/// little to tell the last keys of the list from those behind it.
const READS: usize = 10;

/// The keys that are read most, as many threads note them.
pub(crate) struct HotKeys(Mutex<Table>);

impl HotKeys {
    /// Of how many keys the list is to be; at least one.
    pub(crate) fn new(count: usize) -> Self {
        Self(Mutex::new(Table::new(count)))
    }

    /// Notes a read, if it is one of those that are counted. The others allocate nothing and share nothing with other threads.
    pub(crate) fn note(&self, key: &[u8]) {
        if !sampled() {
            return;
        }
        let Ok(key) = std::str::from_utf8(key) else { return };
        let mut table = match self.0.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(table)) => table.into_inner(),
            // A read waits for nobody; it is a sample, and the next one does as well.
            Err(TryLockError::WouldBlock) => return,
        };
        table.note(key);
    }

    /// The keys that were read most, the hottest first.
    pub(crate) fn hottest(&self) -> Vec<String> {
        // Sorted without the lock.
        let (count, keys) = {
            let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (table.count, table.keys.clone())
        };
        hottest(count, keys)
    }
}

/// Whether the present read is to be counted. How many are left out is drawn anew each time: keys that are read in the same order again and again would
/// otherwise be met again and again, or never.
fn sampled() -> bool {
    thread_local! {
        /// Reads of this thread that are still left out.
        static LEFT: Cell<u32> = const { Cell::new(ONE_IN) };
    }
    LEFT.with(|left| {
        let sampled = left.get() == 0;
        left.set(if sampled { fastrand::u32(0..2 * ONE_IN - 1) } else { left.get() - 1 });
        sampled
    })
}

/// The counts: one step for a read, but for one in many that looks at all of them.
struct Table {
    count: usize,
    keys: HashMap<Box<str>, u32>,
    /// Reads since the counts were halved.
    reads: usize,
}

impl Table {
    fn new(count: usize) -> Self {
        Self { count: count.max(1), keys: HashMap::new(), reads: 0 }
    }

    fn places(&self) -> usize {
        self.count.saturating_mul(PLACES)
    }

    fn note(&mut self, key: &str) {
        if key.is_empty() || key.len() > LONGEST {
            return;
        }
        if let Some(reads) = self.keys.get_mut(key) {
            *reads = reads.saturating_add(1);
        } else {
            if self.keys.len() >= self.places() {
                self.make_room();
            }
            self.keys.insert(key.into(), 1);
        }
        self.reads += 1;
        if self.reads >= self.places().saturating_mul(READS) {
            self.age();
        }
    }

    /// Keeps the larger half. The counts stay: keys that are each read once, as by a walk over all of them, push out one another and not what is hot.
    fn make_room(&mut self) {
        let kept = self.places() / 2;
        let mut counts: Vec<u32> = self.keys.values().copied().collect();
        if counts.len() <= kept {
            return;
        }
        let (larger, &mut bound, _) = counts.select_nth_unstable_by(kept, |one, other| other.cmp(one));
        // Of those that equal the bound as many as there is room for.
        let mut room = larger.iter().filter(|reads| **reads == bound).count();
        self.keys.retain(|_, reads| {
            let fits = *reads > bound || (*reads == bound && room > 0);
            if fits && *reads == bound {
                room -= 1;
            }
            fits
        });
    }

    /// What was hot yesterday gives way.
    fn age(&mut self) {
        self.reads = 0;
        self.keys.retain(|_, reads| {
            *reads /= 2;
            *reads > 0
        });
    }
}

fn hottest(count: usize, keys: HashMap<Box<str>, u32>) -> Vec<String> {
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_unstable_by(|(key, reads), (other, more)| more.cmp(reads).then_with(|| key.cmp(other)));
    keys.truncate(count);
    keys.into_iter().map(|(key, _)| key.into_string()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noted(table: &mut Table, key: &str, times: usize) {
        for _ in 0..times {
            table.note(key);
        }
    }

    fn list(table: &Table) -> Vec<String> {
        hottest(table.count, table.keys.clone())
    }

    /// A number below `keys`, each with a chance of one through its rank.
    fn zipf(sums: &[f64], dice: &mut fastrand::Rng) -> usize {
        let drawn = dice.f64() * sums.last().copied().unwrap_or_default();
        sums.partition_point(|sum| *sum < drawn)
    }

    #[test]
    fn of_reads_as_they_are_the_hottest_keys_are_found() {
        let mut sum = 0.0;
        let chance = |rank| {
            sum += 1.0 / f64::from(rank);
            sum
        };
        let sums: Vec<f64> = (1..=100_000_u32).map(chance).collect();
        let (mut table, mut dice) = (Table::new(100), fastrand::Rng::with_seed(7));
        for _ in 0..20_000 {
            table.note(&format!("key:{}", zipf(&sums, &mut dice)));
        }
        let list = list(&table);
        let found = |first: usize| (0..first).filter(|rank| list.contains(&format!("key:{rank}"))).count();
        assert!(found(20) == 20 && found(100) >= 75, "{} of 20, {} of 100", found(20), found(100));
        // The hottest of all stand where they belong.
        assert_eq!(list.get(..3), Some(&["key:0", "key:1", "key:2"].map(str::to_owned)[..]));
    }

    #[test]
    fn what_was_hot_gives_way() {
        let mut table = Table::new(1);
        let halved = PLACES * READS;
        noted(&mut table, "yesterday's", 8 * halved);
        assert_eq!(list(&table), ["yesterday's"]);
        noted(&mut table, "today's", 2 * halved);
        assert_eq!(list(&table), ["today's"]);
        // In the end nothing is left of it.
        noted(&mut table, "today's", 8 * halved);
        assert_eq!(table.keys.len(), 1);
    }

    #[test]
    fn a_walk_over_all_keys_does_not_push_out_what_is_hot() {
        let mut table = Table::new(10);
        for key in 0..10 {
            noted(&mut table, &format!("hot:{key}"), 8);
        }
        // Short of the next halving.
        for key in 0..300 {
            table.note(&format!("walk:{key}"));
        }
        assert!(list(&table).iter().all(|key| key.starts_with("hot:")), "{:?}", list(&table));
    }

    #[test]
    fn keys_that_are_too_long_are_not_counted() {
        let mut table = Table::new(10);
        let (longest, longer) = ("k".repeat(LONGEST), "k".repeat(LONGEST + 1));
        for key in ["", &longest, &longer] {
            table.note(key);
        }
        assert_eq!(list(&table), [longest]);
    }

    #[test]
    fn a_read_waits_for_nobody_and_one_in_so_many_is_counted() {
        // Of so many that none of the counts is halved.
        let hot = HotKeys::new(1_000);
        let reads = |many: u32| (0..many).for_each(|_| hot.note(b"key"));
        let held = hot.0.lock().expect("not poisoned");
        reads(1_000);
        drop(held);
        assert!(hot.hottest().is_empty());
        reads(ONE_IN * 300);
        let counted = hot.0.lock().expect("not poisoned").keys.values().sum::<u32>();
        assert!((200..400).contains(&counted), "{counted} of {}", ONE_IN * 300);
        assert_eq!(hot.hottest(), ["key"]);
    }

    #[test]
    fn keys_that_are_read_in_turn_are_counted_alike() {
        let hot = HotKeys::new(8);
        for read in 0..ONE_IN * 8 * 200 {
            hot.note(format!("key:{}", read % 8).as_bytes());
        }
        assert_eq!(hot.hottest().len(), 8);
    }

    proptest! {
        #[test]
        fn it_holds_no_more_than_it_may(count in 1_usize..6, keys in proptest::collection::vec(0_u8..60, 0..2_000)) {
            let mut table = Table::new(count);
            for key in &keys {
                table.note(&key.to_string());
                prop_assert!(table.keys.len() <= count * PLACES);
                prop_assert!(table.keys.values().all(|reads| *reads > 0));
            }
            let list = list(&table);
            prop_assert!(list.len() <= count && list.len() >= count.min(table.keys.len()));
            prop_assert!(list.iter().all(|key| keys.iter().any(|noted| noted.to_string() == *key)));
            prop_assert!(list.windows(2).all(|two| table.keys.get(two[0].as_str()) >= table.keys.get(two[1].as_str())));
        }
    }
}
