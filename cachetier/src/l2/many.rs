//! Calls for many keys: what each names, and into which steps a batch of them is cut. How they are sent is the tier's.

use std::time::Duration;

use crate::error::Fault;
use crate::rule::stamp::Stamp;

/// How many keys go in one step.
pub(crate) const MOST: usize = 1_000;

/// How many bytes of names and values go in one step; one key goes whatever it has.
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// The names of many keys, in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct Names {
    text: String,
    /// Where each ends, and the next one begins.
    ends: Vec<usize>,
}

impl Names {
    /// The names that keys have behind this head.
    pub(crate) fn of<'a>(head: &str, keys: impl Iterator<Item = &'a str> + Clone) -> Self {
        let (count, bytes) = keys.clone().fold((0, 0), |(count, bytes), key| (count + 1, bytes + head.len() + key.len()));
        let mut names = Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(count) };
        for key in keys {
            names.text.push_str(head);
            names.text.push_str(key);
            names.ends.push(names.text.len());
        }
        names
    }

    /// Each of them, in their order.
    pub(crate) fn all(&self) -> Vec<&str> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| self.text.get(begin..*end).unwrap_or_default()).collect()
    }
}

/// A ticket of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) name: &'a str,
    pub(crate) ticket: Stamp,
}

/// What stands in a key, as who fills it has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Ticket(Stamp),
    /// A value that is refreshed.
    Value(Stamp),
}

/// The lease of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease<'a> {
    pub(crate) name: &'a str,
    pub(crate) seen: Stamp,
    /// By what the value knows whose it is.
    pub(crate) who: u8,
}

/// A fill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill<'a> {
    pub(crate) name: &'a str,
    /// What is swapped for the value.
    pub(crate) seen: Seen,
    pub(crate) value: &'a [u8],
    pub(crate) life: Duration,
}

/// A claim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) name: &'a str,
    /// The value that is swapped for the ticket.
    pub(crate) seen: Stamp,
    pub(crate) ticket: Stamp,
}

/// What takes up so many bytes on its way.
pub(crate) trait Weighs {
    fn bytes(&self) -> usize;
}

impl Weighs for &str {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Weighs for Standing<'_> {
    fn bytes(&self) -> usize {
        self.name.len()
    }
}

impl Weighs for Fill<'_> {
    fn bytes(&self) -> usize {
        self.name.len().saturating_add(self.value.len())
    }
}

impl Weighs for Lease<'_> {
    fn bytes(&self) -> usize {
        self.name.len()
    }
}

impl Weighs for Claim<'_> {
    fn bytes(&self) -> usize {
        self.name.len()
    }
}

/// Cuts a batch into steps.
pub(crate) fn steps<T: Weighs>(batch: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let fits = |item: &&T| {
            bytes = bytes.saturating_add(item.bytes());
            bytes <= MOST_BYTES
        };
        let count = rest.iter().take(MOST).take_while(fits).count().max(1);
        let (step, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(step)
    })
}

/// An answer for each of a batch, in its order.
pub(crate) type Answers<T> = Vec<Result<T, Fault>>;

/// Whether the tier has not answered: then the rest of a batch is not sent, so that a silent one is waited for once.
pub(crate) fn is_silent<T>(answers: &[Result<T, Fault>]) -> bool {
    answers.iter().all(|answer| matches!(answer, Err(Fault::Unanswered(_) | Fault::Away(_))))
}

/// Answers for those that were not sent.
pub(crate) fn fill_up<T>(answers: &mut Answers<T>, count: usize) {
    answers.resize_with(count, || Err(Fault::Away("not sent: the keys before it had no answer".into())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_by_keys_and_by_bytes_and_nothing_is_left_out() {
        let small = vec!["k"; 2 * MOST + 1];
        assert_eq!(steps(&small).map(<[_]>::len).collect::<Vec<_>>(), [MOST, MOST, 1]);
        let (too_large, nearly) = ("x".repeat(MOST_BYTES + 1), "x".repeat(MOST_BYTES - 1));
        let large = [&*too_large, "k", &*nearly, "k"];
        assert_eq!(steps(&large).map(<[_]>::len).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(steps::<&str>(&[]).count(), 0);
    }

    #[test]
    fn each_key_has_its_name_behind_the_head() {
        let keys = ["user:7", "", "ä"];
        assert_eq!(Names::of("ct:shop:v:", keys.into_iter()).all(), ["ct:shop:v:user:7", "ct:shop:v:", "ct:shop:v:ä"]);
        assert_eq!(Names::of("ct:shop:v:", std::iter::empty()).all(), [""; 0]);
    }
}
