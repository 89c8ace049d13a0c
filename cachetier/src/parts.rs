//! A namespace in one part, or in several that stand in slots of a Cluster: which one a key belongs to, and who has to be told of a bump.

use std::sync::Arc;

use crate::error::ConfigError;
use crate::key::{PARTS, part_of};
use crate::wire::message::Targets;

/// The parts of a cache, or of who invalidates one.
#[derive(Clone, Debug)]
pub(crate) enum Parts<P> {
    /// There is but one.
    One(P),
    /// Each key belongs to one of them.
    Several(Arc<[P; PARTS]>),
}

impl<P> Parts<P> {
    /// The part of a key.
    pub(crate) fn of(&self, key: &[u8]) -> &P {
        match self {
            Self::One(part) => part,
            Self::Several(parts) => parts.get(part_of(key)).unwrap_or_else(|| self.first()),
        }
    }

    /// Which of them is the part of a key.
    pub(crate) fn number_of(&self, key: &[u8]) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Several(_) => part_of(key),
        }
    }

    /// The one that answers for what is the same in all.
    pub(crate) fn first(&self) -> &P {
        match self {
            Self::One(part) => part,
            Self::Several(parts) => {
                let [first, ..] = &**parts;
                first
            }
        }
    }

    pub(crate) fn all(&self) -> &[P] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Several(parts) => &**parts,
        }
    }

    /// The same of each.
    pub(crate) fn map(&self, mut to: impl FnMut(&P) -> P) -> Self {
        match self {
            Self::One(part) => Self::One(to(part)),
            Self::Several(parts) => Self::Several(Arc::new(parts.each_ref().map(to))),
        }
    }

    /// The part of this number. What is not known by one of the numbers that there are here concerns all.
    pub(crate) fn of_number(&self, number: Option<usize>) -> &[P] {
        let numbered = |number: usize| self.all().get(number..number.checked_add(1)?);
        number.and_then(numbered).unwrap_or_else(|| self.all())
    }

    /// Which of several each is, by its place.
    pub(crate) fn numbers(several: bool) -> impl Iterator<Item = Option<usize>> {
        let (one, more) = if several { (None, 0..PARTS) } else { (Some(None), 0..0) };
        one.into_iter().chain(more.map(Some))
    }

    /// The parts in the order of their numbers.
    pub(crate) fn from(parts: Vec<P>) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::new("parts", "too few or too many", "one, or as many as a namespace has in a Cluster");
        match <[P; PARTS]>::try_from(parts) {
            Ok(parts) => Ok(Self::Several(Arc::new(parts))),
            Err(mut parts) => parts.pop().filter(|_| parts.is_empty()).map(Self::One).ok_or_else(wrong),
        }
    }

    /// Those whom a bump concerns, and what of it: a key its own part, all else every part. A bump of nothing is one of nothing in every part.
    pub(crate) fn share(&self, targets: Targets) -> Vec<(&P, Targets)> {
        let parts = match self {
            Self::One(part) => return vec![(part, targets)],
            Self::Several(parts) => parts,
        };
        let narrow = targets.len() > 0 && targets.len() == targets.keys.len();
        let (keys, wide) = (targets.keys, Targets { keys: Vec::new(), ..targets });
        let mut shares: Vec<Targets> = parts.iter().map(|_| wide.clone()).collect();
        for key in keys {
            if let Some(share) = shares.get_mut(part_of(key.as_bytes())) {
                share.keys.push(key);
            }
        }
        parts.iter().zip(shares).filter(|(_, share)| !narrow || share.len() > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bump_of_keys_concerns_their_parts_and_any_other_all() {
        let parts = Parts::from((0..PARTS).collect::<Vec<usize>>()).expect("some");
        let keys = || (0..3).map(|n| format!("user:{n}"));
        let shares = parts.share(Targets::of_keys(keys()).expect("usable"));
        for key in keys() {
            let told: Vec<usize> = shares.iter().filter(|(_, share)| share.keys.contains(&key)).map(|(part, _)| **part).collect();
            assert_eq!(told, [*parts.of(key.as_bytes())], "{key}");
        }
        assert!(shares.iter().all(|(_, share)| share.len() > 0));
        for wide in [Targets::everything(), Targets::default(), Targets::of_prefix("shop", "user:").expect("usable")] {
            let shares = parts.share(wide.clone());
            assert_eq!(shares.len(), PARTS);
            assert!(shares.iter().all(|(_, share)| *share == wide));
        }
    }

    #[test]
    fn keys_are_spread_evenly() {
        let mut counts = [0_u32; PARTS];
        for key in (0..60_000).map(|n| format!("user:{n}:profile")) {
            counts[part_of(key.as_bytes())] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        // Where values are is fixed for good.
        assert_eq!(
            ["", "a", "user:42", "price:9", "a key of more than eight bytes"].map(|key| part_of(key.as_bytes())),
            [0, 2, 5, 3, 3]
        );
    }
}
