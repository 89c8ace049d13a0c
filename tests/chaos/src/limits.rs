//! Every limit of a run in one place: what the instances are told, what the checker allows, what a run must have seen.

use std::time::Duration;

/// How long a proof counts, in every instance.
pub const MAX_STALENESS: Duration = Duration::from_millis(1_500);
/// What the machine's coarse clock and the rounding to milliseconds may add to it.
pub const SLACK: Duration = Duration::from_millis(25);
/// The life of a value.
pub const TTL: Duration = Duration::from_secs(6);
/// For how long a value is kept behind that, to be refreshed in its place.
pub const KEPT: Duration = Duration::from_secs(30);
/// After how long of a load such a value answers who waits for it.
pub const SLOW: Duration = Duration::from_millis(5);
/// No value is served so long after its load began: its life, and twice what a load and a busy machine may take.
pub const LONGEST_LIFE: Duration = Duration::from_secs(9);
/// A loader's limit.
pub const LOAD_LIMIT: Duration = Duration::from_secs(1);
/// A ticket's life.
pub const LEASE: Duration = Duration::from_secs(1);
/// How long a read waits for another instance's load.
pub const WAIT_BUDGET: Duration = Duration::from_secs(1);
/// A command's limit.
pub const COMMAND_LIMIT: Duration = Duration::from_millis(500);
/// What a read waits for the shared tier.
pub const READ_LIMIT: Duration = Duration::from_millis(50);
/// Cells of the tag table.
pub const CELLS: u32 = 1 << 12;

/// The limit of guards that are given none.
pub const GUARD_LIMIT: Duration = Duration::from_millis(1_200);
/// The limits of the others, in milliseconds.
pub const GUARD_LIMITS: std::ops::Range<u64> = 200..2_500;
/// Guards come in turns, in all instances at once: none for so long, then for twice as long. Without any, bumps of keys go a shorter way.
pub const UNGUARDED_FOR: Duration = Duration::from_secs(4);
/// How long somebody waits for a point of the lane.
pub const WAITS: std::ops::Range<u64> = 20..1_500;
/// By when the lane is applied everywhere once everything is mended and quiet.
pub const LAST_WAIT: Duration = Duration::from_secs(3);
/// For how long what was loaded under a hold may be served: to whoever joined the load, and, by whoever could not see the hold, for the
/// bound on staleness from its end on. A busy machine adds as much as a command may.
pub const HELD_FOR: Duration = LOAD_LIMIT.saturating_add(MAX_STALENESS).saturating_add(COMMAND_LIMIT);

/// By when a read has ended: twice all that it may wait for, a load of its own, and a busy machine.
pub const READ_DEADLINE: Duration = Duration::from_secs(9);
/// By when a mutation has ended: a few scripts, and a busy machine.
pub const MUTATION_DEADLINE: Duration = Duration::from_secs(4);
/// When a call is given up, so that a run ends.
pub const GIVEN_UP: Duration = Duration::from_secs(30);

/// How long something counts as disturbed after a fault is mended.
pub const AFTERMATH: Duration = Duration::from_millis(2_500);

/// By when whoever lives has told a trusted server again what it has forgotten, and everybody has heard it: the longest rest before a
/// connection is tried, two commands of which one fails, the bound, and a busy machine.
pub const TOLD_AGAIN: Duration = Duration::from_secs(5);

/// By when everybody who is awake has left a primary that is replaced, and has told the next one again what it had told: a second until Sentinels miss it,
/// two until they agree, and a busy machine.
pub const REPLACED: Duration = Duration::from_secs(5);
/// The same for a process that was frozen then, once it goes on.
pub const LEFT: Duration = Duration::from_secs(1);

/// What a killed process has committed and not told of is served elsewhere as long as its values live: none is killed so late that some of it is
/// met by the last reads.
pub const AFTER_KILL: Duration = LONGEST_LIFE.saturating_sub(LAST_REST).saturating_sub(MAX_STALENESS);

/// By when the lane that a run begins with is found to be one in which no hold may stand: its first check.
pub const PLAIN_WITHIN: Duration = Duration::from_secs(1);

/// Before the first fault.
pub const FIRST_REST: Duration = Duration::from_millis(1_500);
/// After the last one, under load.
pub const LAST_REST: Duration = Duration::from_millis(2_600);

/// A run must have read so often in each second that it was asked to take, up to [`MOST_READS`].
pub const READS_A_SECOND: u64 = 1_500;
/// What a long run must have read.
pub const MOST_READS: u64 = 1_000_000;
/// Runs of so much time together are the whole: they must have seen every scenario and every kind of fault.
pub const WHOLE: Duration = Duration::from_secs(1_200);
/// How old the reads of sound time may be in the whole, but for one in a thousand.
pub const SOUND_STALENESS: Duration = Duration::from_millis(50);
/// The least share of reads that L1 answers, in percent.
pub const L1_SHARE: u64 = 30;
/// A run of this many seconds must have seen every kind of fault of its scenario; a shorter one so many fewer.
pub const ALL_KINDS_WITHIN: u64 = 120;

/// The shortest and the longest run, in seconds.
pub const SECONDS: std::ops::RangeInclusive<u64> = 5..=1_800;
