//! Which keys there are, what tags they carry, what an invalidation covers, and how often each is asked for.

use serde::{Deserialize, Serialize};

/// How many keys there are.
pub const KEYS: u32 = 300;
/// Groups of keys with a prefix of their own.
pub const GROUPS: u32 = 15;
/// Tags of few keys.
pub const NARROW: u32 = 40;
/// Tags of many.
pub const WIDE: u32 = 7;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub u32);

impl Key {
    /// Every key.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..KEYS).map(Self)
    }

    /// As the cache knows it.
    #[must_use]
    pub fn text(self) -> String {
        format!("u:{}:{}", self.group(), self.0)
    }

    fn group(self) -> u32 {
        self.0 % GROUPS
    }

    /// The tags that its values carry.
    #[must_use]
    pub fn tags(self) -> [Tag; 2] {
        [Tag::Narrow(self.0 % NARROW), Tag::Wide(self.0 % WIDE)]
    }

    /// What is done with its copies while nobody can prove them. Each kind has popular keys, and some that are put.
    #[must_use]
    pub fn class(self) -> Class {
        match (self.0 % 10, self.0 / 10 % 5) {
            (1 | 5, _) | (9, 3) => Class::Serve,
            (3, _) | (9, 4) => Class::Fail,
            _ => Class::Strict,
        }
    }

    /// The only instance that writes it, if it is one of those that are put and not loaded: of two who put at once the one
    /// acknowledged last stays, whatever the database says.
    #[must_use]
    pub fn putter(self, instances: u16) -> Option<u16> {
        (self.0 % 10 == 9).then(|| u16::try_from(self.0 / 10 % u32::from(instances.max(1))).unwrap_or_default())
    }
}

/// What a key's policy says of copies that nobody can prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Its loader is asked.
    Strict,
    /// They are served.
    Serve,
    /// The call fails.
    Fail,
}

/// A tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tag {
    /// Of few keys.
    Narrow(u32),
    /// Of many.
    Wide(u32),
}

impl Tag {
    /// As the cache knows it.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Narrow(n) => format!("narrow:{n}"),
            Self::Wide(n) => format!("wide:{n}"),
        }
    }
}

/// What a mutation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// One key.
    Key(Key),
    /// Several.
    Keys(Vec<Key>),
    /// What carries a tag.
    Tag(Tag),
    /// What lies below the prefix of a group.
    Group(u32),
    /// All keys.
    Everything,
}

impl Target {
    /// Whether it is about this key.
    #[must_use]
    pub fn covers(&self, key: Key) -> bool {
        match self {
            Self::Key(covered) => *covered == key,
            Self::Keys(covered) => covered.contains(&key),
            Self::Tag(tag) => key.tags().contains(tag),
            Self::Group(group) => key.group() == *group,
            Self::Everything => true,
        }
    }

    /// Every key it is about.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        Key::all().filter(|key| self.covers(*key))
    }

    /// The prefix of a group, as the cache knows it.
    #[must_use]
    pub fn prefix(group: u32) -> String {
        format!("u:{group}:")
    }
}

/// Draws keys as they are asked for: the n-th most popular one n times as seldom as the first.
#[derive(Clone, Debug)]
pub struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    /// Over all keys.
    #[must_use]
    pub fn new() -> Self {
        let weights = (1..=KEYS).map(|rank| 1.0 / f64::from(rank));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    /// Draws one.
    #[must_use]
    pub fn draw(&self, dice: &mut fastrand::Rng) -> Key {
        let whole = self.sums.last().copied().unwrap_or_default();
        let at = dice.f64() * whole;
        let rank = u32::try_from(self.sums.partition_point(|sum| *sum < at)).unwrap_or_default();
        Key(rank.min(KEYS - 1))
    }
}

impl Default for Zipf {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_covers_what_carries_it_and_nothing_else() {
        let key = Key(47);
        for target in [
            Target::Key(key),
            Target::Keys(vec![Key(1), key]),
            Target::Tag(Tag::Narrow(7)),
            Target::Tag(Tag::Wide(5)),
            Target::Group(2),
            Target::Everything,
        ] {
            assert!(target.covers(key), "{target:?}");
            assert!(target == Target::Everything || !target.covers(Key(48)), "{target:?}");
        }
        assert!(key.text().starts_with(&Target::prefix(2)));
    }

    #[test]
    fn the_first_key_is_asked_for_most_and_the_last_one_too() {
        let (zipf, mut dice) = (Zipf::new(), fastrand::Rng::with_seed(1));
        let mut counts = vec![0_u32; KEYS as usize];
        for _ in 0..100_000 {
            counts[zipf.draw(&mut dice).0 as usize] += 1;
        }
        assert!(counts[0] > 10_000 && counts[0] > 50 * counts[KEYS as usize - 1], "{} {}", counts[0], counts[KEYS as usize - 1]);
        assert!(counts.iter().all(|count| *count > 0));
    }

    #[test]
    fn most_keys_are_strict_and_every_instance_puts_some_of_each_class() {
        let of = |class| Key::all().filter(move |key| key.class() == class);
        assert!(of(Class::Strict).count() > of(Class::Serve).count() + of(Class::Fail).count());
        for class in [Class::Strict, Class::Serve, Class::Fail] {
            assert!(of(class).filter_map(|key| key.putter(4)).count() > 3, "{class:?}");
            assert!(of(class).any(|key| key.0 < 5), "{class:?}");
        }
    }

    #[test]
    fn each_key_that_is_put_has_one_instance_that_puts_it() {
        let putters: Vec<u16> = Key::all().filter_map(|key| key.putter(4)).collect();
        assert_eq!(putters.len(), 30);
        assert!((0..4).all(|instance| putters.contains(&instance)));
    }
}
