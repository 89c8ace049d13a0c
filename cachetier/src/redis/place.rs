//! Where a lane is in a Redis server, and what both of its ends send and read alike.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use ::redis::{Cmd, Value};

use crate::error::Fault;
use crate::l2::lane::{LaneNames, LaneState};
use crate::rule::seq::{Era, Point, Seq};
use crate::rule::slot;
use crate::wire::message::HEAD;

use super::answer::misread;
use super::script::{Script, lane_script};

/// The highest floor passed on, far from where scripts lose count. A higher one was told by no server.
const HIGHEST_FLOOR: u64 = 1 << 52;

impl LaneNames {
    /// The string that holds era and seq.
    pub(super) fn state(&self) -> String {
        format!("ct:{{{}}}:lane", self.room)
    }

    /// The string that holds the tag table.
    pub(super) fn table(&self) -> String {
        format!("ct:{{{}}}:tags", self.room)
    }

    /// The slot that all of it is in.
    pub(super) fn slot(&self) -> u16 {
        slot::of(self.state().as_bytes())
    }

    /// The channel on which bumps are told.
    pub(super) fn channel(&self) -> String {
        format!("ct:{{{}}}:bus", self.room)
    }

    /// What stands before a mailbox in the name of its channel.
    pub(super) fn channels(&self) -> String {
        format!("ct:{{{}}}:w:", self.room)
    }
}

/// Where the lane is, and what its two ends ask alike.
#[derive(Debug)]
pub(super) struct Place {
    state: String,
    table: String,
    pub(super) channel: String,
    /// That of this instance alone.
    own: String,
    /// How many cells the table is to have at least.
    pub(super) cells: u32,
    /// How many it was last seen to have: bumps are sent for a table of that size.
    seen: AtomicU32,
    outlives_runs: bool,
    /// It tells the nodes of its slot alone.
    sharded: bool,
    check: Script,
}

impl Place {
    pub(super) fn new(names: &LaneNames, database: i64) -> Self {
        let mut channel = names.channel();
        if database != 0 {
            // Keys live in a database, channels do not: two databases' lanes of one name would hear each other.
            channel = format!("{channel}:{database}");
        }
        let check = lane_script!("table", "check", "begin", "stand");
        let (cells, outlives_runs) = (names.cells.max(1), names.outlives_runs);
        let (state, table, seen) = (names.state(), names.table(), AtomicU32::new(cells));
        let own = [&names.channels(), names.mailbox.text()].concat();
        Self { state, table, channel, own, cells, seen, outlives_runs, sharded: names.in_one_slot, check }
    }

    /// The question to be told of what is said on its channel.
    pub(super) fn listening(&self) -> Cmd {
        self.listening_to(&self.channel)
    }

    /// The same of what is said to this instance alone.
    pub(super) fn listening_alone(&self) -> Cmd {
        self.listening_to(&self.own)
    }

    /// Whether it is the channel of this instance alone.
    pub(super) fn is_alone(&self, channel: &Value) -> bool {
        matches!(channel, Value::BulkString(channel) if channel == self.own.as_bytes())
    }

    fn listening_to(&self, channel: &str) -> Cmd {
        let mut command = Cmd::new();
        command.arg(if self.sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" }).arg(channel);
        command
    }

    /// The first key of every script of the lane.
    pub(super) fn state(&self) -> &[u8] {
        self.state.as_bytes()
    }

    /// The first two keys of all of them but one.
    pub(super) fn keys(&self) -> [&[u8]; 2] {
        [self.state.as_bytes(), self.table.as_bytes()]
    }

    /// How many cells the table is taken to have.
    pub(super) fn cells_now(&self) -> u32 {
        self.seen.load(Ordering::Relaxed)
    }

    /// The server says that it has so many.
    pub(super) fn has_cells(&self, cells: u64) -> Result<u32, Fault> {
        let size = u32::try_from(cells).ok().filter(|cells| cells.is_power_of_two()).ok_or_else(|| misread("a power of two"))?;
        self.seen.store(size, Ordering::Relaxed);
        Ok(size)
    }

    /// Reads that part of the table.
    pub(super) fn part(&self, part: &Range<usize>) -> Cmd {
        let mut command = Cmd::with_capacity(4, self.table.len() + 32);
        command.arg("GETRANGE").arg(&self.table).arg(part.start).arg(part.end.saturating_sub(1));
        command
    }

    /// The script that checks, its keys, and what it is told: its caller, and whether the lane outlives runs.
    pub(super) fn check(&self, floor: Point, run: u64) -> (&Script, [&[u8]; 2], [Vec<u8>; 2]) {
        let args = [caller(floor, self.cells, run).to_vec(), u8::from(self.outlives_runs).to_string().into()];
        (&self.check, self.keys(), args)
    }

    /// What its answer says.
    pub(super) fn found(&self, reply: Value) -> Result<LaneState, Fault> {
        let [era, seq, server_millis, cells, run] = numbers(reply)?;
        let (era, cells) = (u32::try_from(era).map_err(|_| misread("an era below 2^32"))?, self.has_cells(cells)?);
        Ok(LaneState { point: Point { era: Era(era), seq: Seq(seq) }, server_millis, cells, run })
    }
}

/// The highest seq that the lane has told, as scripts read it: one that no server told is none.
pub(super) fn known(floor: Point) -> [u8; 8] {
    let Seq(seq) = floor.seq;
    if seq > HIGHEST_FLOOR { 0 } else { seq }.to_be_bytes()
}

/// What every script of the lane is told of its caller, as `scripts/lane.lua` reads it.
pub(super) type Caller = [u8; 28];

/// The highest seq told in the era known here, that era, an era to begin if there is none, the size of a table to begin, the life of the
/// process at the other end of the connection over which it goes, or zero.
pub(super) fn caller(floor: Point, cells: u32, run: u64) -> Caller {
    let Era(era) = floor.era;
    // Never zero, which stands for "none known".
    let fresh = fastrand::u32(1..);
    let fields = known(floor).into_iter().chain(era.to_be_bytes()).chain(fresh.to_be_bytes()).chain(cells.to_be_bytes());
    let fields = fields.chain(run.to_be_bytes());
    let mut caller = [0; 28];
    for (place, byte) in caller.iter_mut().zip(fields) {
        *place = byte;
    }
    caller
}

/// Reads an answer of whole numbers.
pub(super) fn numbers<const N: usize>(reply: Value) -> Result<[u64; N], Fault> {
    let Value::Array(values) = reply else { return Err(misread("a list of numbers")) };
    let numbers: Option<Vec<u64>> = values
        .into_iter()
        .map(|value| match value {
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        })
        .collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| misread("a list of numbers"))
}

/// Reads what `scripts/tell.lua` answers: the head of the message that it has published, and behind that what it has counted, if
/// anything.
pub(super) fn told(reply: Value) -> Result<(Point, u64), Fault> {
    let read = |told: &[u8]| {
        let (head, counted) = told.split_at_checked(HEAD)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
        let (era, seq) = (u32::try_from(number(head.get(3..7)?)).ok()?, number(head.get(15..)?));
        let counted = if counted.is_empty() { 0 } else { std::str::from_utf8(counted).ok()?.parse().ok()? };
        Some((Point { era: Era(era), seq: Seq(seq) }, counted))
    };
    let Value::BulkString(bytes) = reply else { return Err(misread("the head of a message")) };
    read(&bytes).ok_or_else(|| misread("the head of a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::head;

    #[test]
    fn an_answer_is_the_head_of_a_message_and_a_number() {
        let head = head(Era(7), Seq(8), Seq(9)).to_vec();
        let at = Point { era: Era(7), seq: Seq(9) };
        assert_eq!(told(Value::BulkString(head.clone())), Ok((at, 0)));
        assert_eq!(told(Value::BulkString([head.as_slice(), b"12"].concat())), Ok((at, 12)));
        let odd = [Vec::new(), head[..22].to_vec(), [head.as_slice(), b"-1"].concat(), [head.as_slice(), b"\xff"].concat()];
        for answer in odd.map(Value::BulkString).into_iter().chain([Value::Nil, Value::Okay, Value::Int(1)]) {
            assert!(told(answer.clone()).is_err(), "{answer:?}");
        }
    }
}
