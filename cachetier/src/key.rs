//! Keys and tags as numbers: the hash under which L1 knows a key, the hashes under which the lane knows tags.

use siphasher::sip128::SipHasher13;

use crate::error::KeyError;

/// The longest key, in bytes.
pub(crate) const MAX_KEY: usize = 4_096;

/// How many leading segments of a key (`a:`, `a:b:`, ..) can be invalidated as a prefix.
pub(crate) const PREFIX_DEPTH: usize = 4;

/// A key as L1 knows it: 128 bits, keyed by a secret of the process, so that nobody can craft two keys that meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KeyHash(pub(crate) u128);

/// Makes [`KeyHash`]es.
#[derive(Clone)]
pub(crate) struct KeyHasher(SipHasher13);

impl KeyHasher {
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&secret))
    }

    pub(crate) fn hash(&self, key: impl AsRef<[u8]>) -> KeyHash {
        KeyHash(self.0.hash(key.as_ref()).as_u128())
    }
}

impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

/// Says whether a key can be cached.
pub(crate) fn check_key(key: &str) -> Result<(), KeyError> {
    match key.len() {
        0 => Err(KeyError::Empty),
        length if length > MAX_KEY => Err(KeyError::TooLong { length, limit: MAX_KEY }),
        _ => Ok(()),
    }
}

/// Into how many parts a namespace is divided that is spread over the slots of a Cluster.
pub(crate) const PARTS: usize = 6;

/// The part of a key, where its namespace has several. Fixed, because other programs and languages compute it too; quick, because each hit does.
pub(crate) fn part_of(key: &[u8]) -> usize {
    let mut hash = 0_u64;
    for chunk in key.chunks(8) {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        hash = (hash ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    // The upper bits of a product depend on all of what was multiplied.
    usize::try_from((hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % PARTS as u64).unwrap_or_default()
}

/// A tag, or an implicit one, as everybody on the lane knows it. Two tags that share a hash are invalidated together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TagHash(pub(crate) u64);

/// How many cells of the table a tag has.
pub(crate) const CELLS_PER_TAG: u32 = 4;

/// Into how many cells each page of a tag table is divided; a table of fewer is one page.
pub(crate) const CELLS_PER_PAGE: u32 = 4_096;

impl TagHash {
    /// The hash of a tag: 64-bit FNV-1a over the namespace, a zero byte and the tag, then mixed. Fixed, because other programs
    /// and languages compute it too; simple, for the same reason.
    pub(crate) fn of(namespace: &str, tag: &str) -> Self {
        Fnv::BEGIN.over(namespace.as_bytes()).over(b"\0").over(tag.as_bytes()).mixed()
    }

    /// The hash of the implicit tag that all keys below `prefix` (its last `:` included) carry.
    pub(crate) fn of_prefix(namespace: &str, prefix: &str) -> Self {
        PrefixHasher::new(namespace).0.over(prefix.as_bytes()).mixed()
    }

    /// The cells of a table of `cells`, a power of two, that a bump of this tag is written into: all of them in one page.
    pub(crate) fn cells(self, cells: u32) -> impl Iterator<Item = u32> {
        let size = cells.clamp(1, CELLS_PER_PAGE);
        let pages = cells.max(1) / size;
        // Different bits for the page, the place in it, and the way from cell to cell.
        let (at, step) = (low(self.0), low(self.0 >> 32) | 1);
        let (page, first) = (at % pages, at >> 10);
        (0..CELLS_PER_TAG).map(move |i| page.wrapping_mul(size).wrapping_add(first.wrapping_add(i.wrapping_mul(step)) % size))
    }
}

/// A hash of what has been read so far.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

impl Fnv {
    const BEGIN: Self = Self(0xcbf2_9ce4_8422_2325);

    fn over(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)))
    }

    /// By the finaliser of `MurmurHash3`: FNV alone leaves the upper bits of short tags poor, and the cells take from both halves.
    fn mixed(self) -> TagHash {
        let hash = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        TagHash(hash ^ (hash >> 33))
    }
}

/// The lower half.
fn low(bits: u64) -> u32 {
    u32::try_from(bits & 0xffff_ffff).unwrap_or_default()
}

/// The implicit tags of a key: one for each prefix that it can be invalidated by, up to and with each of its first [`PREFIX_DEPTH`] colons.
/// In place: a miss makes them, and copies them about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefixes {
    hashes: [TagHash; PREFIX_DEPTH],
    count: usize,
}

/// Makes the [`Prefixes`] of a namespace's keys, which all begin alike.
#[derive(Debug)]
pub(crate) struct PrefixHasher(Fnv);

impl PrefixHasher {
    pub(crate) fn new(namespace: &str) -> Self {
        Self(Fnv::BEGIN.over(namespace.as_bytes()).over(b"\0^"))
    }

    pub(crate) fn hash(&self, key: &str) -> Prefixes {
        let mut all = Prefixes::default();
        let (mut hash, mut rest) = (self.0, key.as_bytes());
        for place in &mut all.hashes {
            let Some((segment, behind)) = rest.iter().position(|byte| *byte == b':').and_then(|at| rest.split_at_checked(at + 1))
            else {
                break;
            };
            hash = hash.over(segment);
            *place = hash.mixed();
            all.count += 1;
            rest = behind;
        }
        all
    }
}

impl std::ops::Deref for Prefixes {
    type Target = [TagHash];

    fn deref(&self) -> &[TagHash] {
        self.hashes.get(..self.count).unwrap_or_default()
    }
}

/// Says whether a prefix is one that keys are invalidated by.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), KeyError> {
    check_key(prefix)?;
    let depth = prefix.matches(':').count();
    if !prefix.ends_with(':') {
        return Err(KeyError::PrefixInsideSegment { prefix: prefix.to_owned() });
    }
    if depth > PREFIX_DEPTH {
        return Err(KeyError::PrefixTooDeep { depth, limit: PREFIX_DEPTH });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_carries_the_hash_of_each_prefix_that_it_can_be_invalidated_by() {
        let hasher = PrefixHasher::new("shop");
        let of = |prefixes: &[&str]| prefixes.iter().map(|prefix| TagHash::of_prefix("shop", prefix)).collect::<Vec<_>>();
        for (key, prefixes) in [
            ("", &[][..]),
            ("user", &[]),
            (":", &[":"]),
            ("user:", &["user:"]),
            ("user::7", &["user:", "user::"]),
            ("ä:b:c:d:e:f", &["ä:", "ä:b:", "ä:b:c:", "ä:b:c:d:"]),
        ] {
            assert_eq!(*hasher.hash(key), *of(prefixes), "{key}");
        }
        assert_ne!(*PrefixHasher::new("shop2").hash("user:7"), *hasher.hash("user:7"));
    }
}
