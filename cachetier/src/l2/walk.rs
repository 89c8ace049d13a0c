//! The walk over the keys of a namespace: which of them it finds, and which of the values there are deleted.
//! How fast it goes and what is told of it is `cache/purge.rs`'s.

use async_trait::async_trait;

use crate::error::Fault;
use crate::key::TagHash;
use crate::rule::glob::Glob;
use crate::rule::seq::Point;
use crate::wire::envelope::{HEADER, MAX_TAGS, peek};
use crate::wire::slot::{HOLD, PREFIX, TICKET, VALUE};

/// How much of a value a walk reads at most: its header and its tags.
pub(crate) const READ: usize = HEADER + 8 * MAX_TAGS;

/// The names that a walk finds: a head that stands for itself, and what a pattern says of the key behind it.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) head: String,
    pub(crate) keys: Glob,
}

impl Selection {
    /// Whether it finds this name.
    pub(crate) fn finds(&self, name: &[u8]) -> bool {
        self.key_of(name).is_some_and(|key| self.keys.matches(key))
    }

    /// The logical key of a name.
    pub(crate) fn key_of<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        name.strip_prefix(self.head.as_bytes())
    }
}

/// Which values under the names found are deleted. Whatever is no value stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doomed {
    /// All of them.
    All,
    /// Those whose load began before this point, or in another era.
    Before(Point),
    /// Those of them that carry this tag.
    Tagged(TagHash, Point),
}

/// What a value, a ticket or anything else under a name comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is deleted.
    Goes,
    /// Its load began after the point: it stays.
    Newer,
    /// It does not carry the tag.
    OfNoConcern,
    /// A load is under way.
    UnderWay,
    /// A write guard holds the key.
    Held,
    /// A value whose tags this release cannot read.
    Unread,
    /// Not ours.
    Foreign,
}

impl Doomed {
    /// Judges by the first [`READ`] bytes that stand under a name. `scripts/purge.lua` judges alike.
    pub(crate) fn judge(&self, head: &[u8]) -> Verdict {
        let kind = head.first().copied();
        if kind == Some(HOLD) {
            return Verdict::Held;
        }
        if head.len() < PREFIX {
            return Verdict::Foreign;
        }
        match (kind, self) {
            (Some(TICKET), _) => Verdict::UnderWay,
            (Some(VALUE), Self::All) => Verdict::Goes,
            (Some(VALUE), Self::Before(point)) => match peek(head) {
                // What cannot be read goes, too: it has the name, and at worst it is loaded again.
                Some(seen) if !is_before(seen.born, *point) => Verdict::Newer,
                _ => Verdict::Goes,
            },
            (Some(VALUE), Self::Tagged(tag, point)) => match peek(head) {
                None => Verdict::Unread,
                Some(seen) if !seen.carries(*tag) => Verdict::OfNoConcern,
                Some(seen) if is_before(seen.born, *point) => Verdict::Goes,
                Some(_) => Verdict::Newer,
            },
            _ => Verdict::Foreign,
        }
    }
}

/// Whether the load of a value began before the point: that of a value of another era did.
fn is_before(born: Point, point: Point) -> bool {
    born.era != point.era || born.seq < point.seq
}

/// How many of the names that were looked at came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) gone: u64,
    /// How many bytes these took, without their names.
    pub(crate) bytes: u64,
    pub(crate) newer: u64,
    pub(crate) under_way: u64,
    pub(crate) held: u64,
    pub(crate) unread: u64,
    pub(crate) foreign: u64,
}

impl Swept {
    /// Counts one that was judged.
    pub(crate) fn count(&mut self, verdict: Verdict, bytes: u64) {
        let counted = match verdict {
            Verdict::Goes => {
                self.bytes = self.bytes.saturating_add(bytes);
                &mut self.gone
            }
            Verdict::Newer => &mut self.newer,
            Verdict::UnderWay => &mut self.under_way,
            Verdict::Held => &mut self.held,
            Verdict::Unread => &mut self.unread,
            Verdict::Foreign => &mut self.foreign,
            Verdict::OfNoConcern => return,
        };
        *counted = counted.saturating_add(1);
    }
}

/// Some of the names that a walk finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whole names; any of them may be gone by now, and come twice.
    pub(crate) names: Vec<Vec<u8>>,
    /// There are no more.
    pub(crate) last: bool,
}

/// One walk over one primary. Every name that is there from its begin to its end is found; who comes or goes meanwhile, may be.
/// It ends with an error when its server does: it is never continued on another, whose order of names is not the same.
#[async_trait]
pub(crate) trait Walk: Send {
    /// Returns about `batch` names more, also none.
    /// Cancel safety: what a dropped call would have returned, the next one does.
    async fn next(&mut self, batch: usize) -> Result<Found, Fault>;

    /// Judges what stands under the names and deletes what is doomed, each in one step.
    async fn sweep(&mut self, names: &[Vec<u8>], doomed: Doomed) -> Result<Swept, Fault>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::seq::{Era, Seq};
    use crate::rule::stamp::Stamp;
    use crate::wire::envelope::{Head, Writer};
    use crate::wire::slot::prefix;

    const POINT: Point = Point { era: Era(7), seq: Seq(100) };
    const TAG: TagHash = TagHash(5);
    const STAMP: Stamp = Stamp([3; 16]);

    fn value(era: u32, seq: u64, tags: &[u64]) -> Vec<u8> {
        let tags: Vec<TagHash> = tags.iter().copied().map(TagHash).collect();
        let head = Head { hard: 1, born: Point { era: Era(era), seq: Seq(seq) }, ..Head::default() };
        Writer::begin(STAMP, &head, &tags, None).unwrap().finish()
    }

    #[test]
    fn a_value_goes_if_its_load_began_before_the_point() {
        for (era, seq, verdict) in [(7, 99, Verdict::Goes), (7, 100, Verdict::Newer), (6, 200, Verdict::Goes)] {
            assert_eq!(Doomed::Before(POINT).judge(&value(era, seq, &[])), verdict, "{era} {seq}");
            assert_eq!(Doomed::Tagged(TAG, POINT).judge(&value(era, seq, &[4, 5])), verdict, "{era} {seq}");
            assert_eq!(Doomed::All.judge(&value(era, seq, &[])), Verdict::Goes);
        }
        assert_eq!(Doomed::Tagged(TAG, POINT).judge(&value(7, 1, &[4, 6])), Verdict::OfNoConcern);
        // Whether the payload is compressed is of no concern: it is not looked at.
        let mut compressed = value(7, 100, &[5]);
        compressed[18] = 2;
        assert_eq!(Doomed::Tagged(TAG, POINT).judge(&compressed), Verdict::Newer);
    }

    #[test]
    fn all_tags_that_a_value_can_have_are_looked_at() {
        let mut tags: Vec<u64> = (1_000..1_031).collect();
        tags.push(TAG.0);
        let whole = value(7, 1, &tags);
        assert_eq!(whole.len(), READ);
        assert_eq!(Doomed::Tagged(TAG, POINT).judge(&whole), Verdict::Goes);
    }

    #[test]
    fn a_tag_is_not_found_in_what_is_not_a_tag() {
        let mut bytes = value(7, 1, &[4]);
        bytes.extend_from_slice(&TAG.0.to_be_bytes());
        assert_eq!(Doomed::Tagged(TAG, POINT).judge(&bytes), Verdict::OfNoConcern);
    }

    #[test]
    fn what_is_no_value_stays_whatever_is_doomed() {
        for doomed in [Doomed::All, Doomed::Before(POINT), Doomed::Tagged(TAG, POINT)] {
            assert_eq!(doomed.judge(&prefix(TICKET, STAMP)), Verdict::UnderWay);
            assert_eq!(doomed.judge(&[HOLD, 0]), Verdict::Held);
            assert_eq!(doomed.judge(b""), Verdict::Foreign);
            assert_eq!(doomed.judge(b"text that is longer than kind and stamp"), Verdict::Foreign);
            assert_eq!(doomed.judge(&prefix(VALUE, STAMP)[..16]), Verdict::Foreign);
        }
    }

    #[test]
    fn what_cannot_be_read_goes_by_its_name_and_stays_where_its_tags_decide() {
        let (mut newer, mut flags) = (value(7, 100, &[5]), value(7, 100, &[5]));
        newer[17] = 2;
        flags[18] = 4;
        for bytes in [newer, flags, value(7, 100, &[5])[..70].to_vec()] {
            assert_eq!(Doomed::Tagged(TAG, POINT).judge(&bytes), Verdict::Unread);
            assert_eq!(Doomed::Before(POINT).judge(&bytes), Verdict::Goes);
        }
    }

    #[test]
    fn a_name_is_found_by_what_stands_behind_its_head() {
        let selection = Selection { head: "ct:shop:v:".into(), keys: Glob::parse("user:*").unwrap() };
        assert!(selection.finds(b"ct:shop:v:user:7"));
        assert!(!selection.finds(b"ct:other:v:user:7") && !selection.finds(b"ct:shop:v:order:7"));
    }
}
