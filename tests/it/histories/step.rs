//! What can happen in a history, drawn from a seed. A step means something whatever came before it, so that a history stays one
//! when steps are taken out of it.

use std::time::Duration;

use cachetier::{EarlyRefresh, Policy};
use cachetier_tests::End;

/// How many caches a history has, not counting the one that only watches.
pub(crate) const CACHES: usize = 3;

/// A key, and what is said of it whenever it is stored.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) tags: &'static [&'static str],
    pub(crate) policy: Policy,
    /// Whether what is stale may answer for a load that fails: what was made stale by hand as well.
    pub(crate) stands_in: bool,
}

const LONG: Policy = Policy::ttl(Duration::from_secs(60));
const SHORT: Policy = Policy::ttl(Duration::from_millis(600)).l1_ttl(Duration::from_millis(15));
/// For so long a value is kept behind its life.
const KEPT: Duration = Duration::from_secs(30);
/// And answers where a load fails, with a try so often.
const RETRY: Duration = Duration::from_millis(20);
/// And where it takes longer than this.
const SLOW: Duration = Duration::from_millis(1);
/// Nearly always looked for anew, before its life is over.
const DUE: Policy = Policy::ttl(Duration::from_secs(1)).early_refresh(EarlyRefresh::after_percent(1));
/// Soon gone here and not there: what is read again comes from the shared tier.
const SHARED: Policy = LONG.l1_ttl(Duration::from_millis(6));

pub(crate) const KEYS: [Key; 4] = [
    Key { name: "p:a", tags: &["t"], policy: DUE.stale_for(KEPT).announce_changes().share_errors(), stands_in: false },
    Key { name: "q", tags: &[], policy: SHORT.stale_for(KEPT).stale_if_error(RETRY).stale_if_slow(SLOW), stands_in: true },
    Key { name: "p:b", tags: &["t", "u"], policy: SHARED.share_errors(), stands_in: false },
    Key { name: "r:s:x", tags: &["u"], policy: LONG.share_errors(), stands_in: false },
];

/// A set of keys.
pub(crate) type KeySet = [bool; KEYS.len()];

const TAGS: [&str; 2] = ["t", "u"];
const PREFIXES: [&str; 3] = ["p:", "r:", "r:s:"];

/// What becomes of one call to the shared tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Held before it runs, until it is released.
    pub(crate) held: bool,
    pub(crate) run: Run,
    /// Held before it is answered.
    pub(crate) answer_held: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Well,
    /// Runs, and the answer is lost.
    Unanswered,
    /// Never runs, and no answer comes.
    Lost,
    /// Its caller gives up, and it runs some time after that.
    Late,
    /// Never runs, and the caller knows it.
    Refused,
}

impl Fate {
    pub(crate) const WELL: Self = Self { held: false, run: Run::Well, answer_held: false };

    fn draw(rng: &mut fastrand::Rng) -> Self {
        let of = |held, run, answer_held| Self { held, run, answer_held };
        match rng.u32(..100) {
            0..60 => Self::WELL,
            60..71 => of(true, Run::Well, false),
            71..79 => of(false, Run::Well, true),
            79..81 => of(true, Run::Well, true),
            81..84 => of(false, Run::Unanswered, false),
            84..87 => of(true, Run::Unanswered, false),
            87..89 => of(false, Run::Lost, false),
            89..92 => of(true, Run::Lost, false),
            92..94 => of(false, Run::Late, false),
            94..97 => of(true, Run::Late, false),
            _ => of(false, Run::Refused, false),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    Key(usize),
    Many(KeySet),
    Tag(&'static str),
    Prefix(&'static str),
    Clear,
    Set(usize),
    Expire(usize),
}

impl Mutation {
    fn draw(rng: &mut fastrand::Rng, key: usize, keys: usize) -> Self {
        match rng.u32(..100) {
            0..20 => Self::Key(key),
            20..28 => Self::Expire(key),
            28..36 => Self::Many(std::array::from_fn(|other| other == key || other < keys && rng.bool())),
            36..57 => Self::Tag(TAGS[rng.usize(..TAGS.len())]),
            57..72 => Self::Prefix(PREFIXES[rng.usize(..PREFIXES.len())]),
            72..80 => Self::Clear,
            _ => Self::Set(key),
        }
    }

    pub(crate) fn covers(self) -> KeySet {
        std::array::from_fn(|key| match self {
            Self::Key(one) | Self::Set(one) | Self::Expire(one) => one == key,
            Self::Many(many) => many[key],
            Self::Tag(tag) => KEYS[key].tags.contains(&tag),
            Self::Prefix(prefix) => KEYS[key].name.starts_with(prefix),
            Self::Clear => true,
        })
    }

    /// Whether it is told to the others key by key.
    pub(crate) fn by_key(self) -> bool {
        matches!(self, Self::Key(_) | Self::Many(_) | Self::Set(_) | Self::Expire(_))
    }
}

/// One step of a history. What is to be picked is counted from the oldest, round and round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A `get_or_load` begins; its first calls to the tier fare as said, and its loader, if it runs, reads and may then be held.
    Load { cache: usize, key: usize, calls: [Fate; 3], held: bool, end: End },
    /// A `get` begins.
    Get { cache: usize, key: usize, calls: [Fate; 3] },
    /// What is covered gets a new version in the database, unless only told so; then the call begins.
    Mutate { cache: usize, what: Mutation, commits: bool, calls: [Fate; 3] },
    /// The next call that the cache makes on nobody's behalf fares as said.
    Background { cache: usize, fate: Fate },
    /// So does the next thing that it asks on its subscription.
    Ask { cache: usize, fate: Fate },
    /// A held call goes on.
    Release { pick: usize },
    /// A held loader goes on.
    Open { pick: usize },
    /// A call whose caller has given up runs.
    Land { pick: usize },
    /// Messages to the cache are held from now on.
    Hold { cache: usize },
    /// The next message arrives there.
    Deliver { cache: usize },
    /// All do, and are held no longer.
    DeliverAll { cache: usize },
    /// The next message to the cache will be lost.
    Lose { cache: usize },
    /// The tier drops the key and tells nobody.
    Evict { key: usize },
    /// Somebody else commits a new version and deletes the key in the tier.
    Foreign { key: usize },
    /// A running call is dropped.
    Drop { pick: usize },
    /// Time passes.
    Wait { millis: u64 },
    /// The clock moves and no timer does: the machine was suspended.
    Suspend { millis: u64 },
    /// All subscriptions end.
    Break,
    /// The tier forgets everything.
    Flush,
}

/// The first caches and keys are used more often.
fn hot(rng: &mut fastrand::Rng, of: usize) -> usize {
    rng.usize(..of).min(rng.usize(..of))
}

/// Draws the steps of one history.
pub(crate) fn draw(seed: u64) -> Vec<Step> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let rng = &mut rng;
    let keys = rng.usize(2..=KEYS.len());
    let length = rng.usize(20..=80);
    // Half of all caches hear of what others do only when a step says so.
    let mut steps: Vec<Step> = (0..CACHES).filter(|_| rng.bool()).map(|cache| Step::Hold { cache }).collect();
    let mut scene = (0, 0);
    for _ in 0..length {
        // What goes wrong goes wrong between steps that meet: often the same cache and key again.
        if rng.u32(..100) < 60 {
            scene = (hot(rng, CACHES), hot(rng, keys));
        }
        steps.push(step(rng, scene, keys));
    }
    steps
}

fn step(rng: &mut fastrand::Rng, (cache, key): (usize, usize), keys: usize) -> Step {
    let pick = rng.usize(..8);
    // In most operations everything goes well: else nothing would ever be stored.
    let mut calls = |percent: u32| {
        let badly = rng.u32(..100) < percent;
        if badly { std::array::from_fn(|_| Fate::draw(rng)) } else { [Fate::WELL; 3] }
    };
    let (read, mutated) = (calls(35), calls(70));
    match rng.u32(..1_000) {
        0..390 => {
            let end = match rng.u32(..100) {
                0..92 => End::Well,
                92..96 => End::Fails,
                _ => End::Panics,
            };
            Step::Load { cache, key, calls: read, held: rng.u32(..100) < 30, end }
        }
        // Until something is due.
        390..420 => Step::Wait { millis: 10 },
        420..505 => Step::Get { cache, key, calls: read },
        505..610 => Step::Mutate { cache, what: Mutation::draw(rng, key, keys), commits: rng.u32(..100) < 90, calls: mutated },
        610..645 => Step::Background { cache, fate: Fate::draw(rng) },
        645..652 => Step::Ask { cache, fate: Fate::draw(rng) },
        652..745 => Step::Release { pick },
        745..805 => Step::Open { pick },
        805..830 => Step::Land { pick },
        830..845 => Step::Hold { cache },
        845..890 => Step::Deliver { cache },
        890..915 => Step::DeliverAll { cache },
        915..920 => Step::Lose { cache },
        920..931 => Step::Evict { key },
        931..941 => Step::Foreign { key },
        941..962 => Step::Drop { pick },
        962..988 => Step::Wait { millis: [10, 60, 250, 600, 1_200, 3_000][rng.usize(..6)] },
        988..993 => Step::Suspend { millis: [300, 1_100, 2_500, 6_000, 61_000][rng.usize(..5)] },
        993..997 => Step::Break,
        _ => Step::Flush,
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = if self.held { "held, " } else { "" };
        let answer = if self.answer_held { ", answer held" } else { "" };
        write!(f, "{held}{}{answer}", format!("{:?}", self.run).to_lowercase())
    }
}
