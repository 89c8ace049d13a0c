//! The lane of one namespace: era, seq, tag table, and the sending ends of its subscriptions. Everything here happens under the
//! hub's lock, so that a message stands in every reader's mail in the order of its seq. What is in a message is `lane`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::faults::{Fate, Gate, Plan, chain};
use super::hub::Deliveries;
use crate::clock::Millis;
use crate::error::Fault;
use crate::key::{CELLS_PER_PAGE, TagHash};
use crate::l2::lane::LaneState;
use crate::rule::seq::{Era, Point, Seq};
use crate::rule::table::{Page, TableCopy};
use crate::wire::wake::Mailbox;

/// Names one subscription, and is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReaderId(pub(super) u64);

/// One message on its way to one reader, or what became of it.
pub(super) struct Parcel {
    /// To be waited for before the parcel arrives; everything behind it waits too.
    pub(super) gate: Option<Gate>,
    pub(super) content: Content,
}

pub(super) enum Content {
    Message(Arc<[u8]>),
    /// The message was lost here: nothing arrives.
    Lost,
    /// The subscription ended here.
    Broken(Fault),
}

impl Parcel {
    pub(super) fn of(message: Arc<[u8]>) -> Self {
        Self { gate: None, content: Content::Message(message) }
    }

    /// What `plan` makes of a message, and whether a copy of it goes astray.
    fn planned(message: &Arc<[u8]>, plan: Plan) -> (Self, bool) {
        let whole = || Content::Message(Arc::clone(message));
        let (hang, content, stray): (Option<Gate>, _, _) = match plan.fate {
            Fate::Run | Fate::LoseReply => (None, whole(), false),
            Fate::Twice => (None, whole(), true),
            Fate::Late => (None, Content::Lost, true),
            Fate::Lose => (None, Content::Lost, false),
            Fate::Fail(fault) => (None, Content::Broken(fault), false),
            Fate::Hang => (Some(Box::pin(std::future::pending())), whole(), false),
        };
        (Self { gate: chain(chain(plan.before, hang), plan.reply), content }, stray)
    }
}

struct Reader {
    id: ReaderId,
    instance: usize,
    /// Where it is told what concerns nobody else.
    mailbox: Mailbox,
    mail: UnboundedSender<Parcel>,
    /// How many parcels were put into the mail: what an answer given now must not overtake.
    sent: u64,
}

impl Reader {
    /// Whether its mailbox is one of these, if any are named.
    fn is_of(&self, mailboxes: Option<&[Mailbox]>) -> bool {
        mailboxes.is_none_or(|mailboxes| mailboxes.contains(&self.mailbox))
    }

    fn send(&mut self, parcel: Parcel) {
        // A reader that is gone gets nothing: as with a server, it is nobody's loss.
        if self.mail.send(parcel).is_ok() {
            self.sent += 1;
        }
    }
}

/// What a server saves of a lane, and may come back with.
#[derive(Clone, Default)]
pub(super) struct Past {
    state: Option<Point>,
    /// The run in which it was begun, or taken over.
    run: u64,
    /// Whether what another life has left is trusted.
    trusted: bool,
    table: Table,
}

/// A lane, which may have no state yet, or no longer.
pub(super) struct Room {
    past: Past,
    /// The present life of the server.
    run: u64,
    /// The era before this one, or this one: the next is another.
    last_era: Option<Era>,
    readers: Vec<Reader>,
}

/// The tag table: the cells that were ever written.
#[derive(Clone, Default)]
struct Table {
    size: u32,
    cells: BTreeMap<u32, Seq>,
    all: Seq,
}

impl Table {
    /// A tag's cells in a table of twice the size are those of the smaller one, or stand as far behind them as that was large.
    fn grow(&mut self, size: u32) {
        while self.size < size {
            let behind: Vec<(u32, Seq)> = self.cells.iter().map(|(cell, seq)| (cell.saturating_add(self.size), *seq)).collect();
            self.cells.extend(behind);
            self.size = self.size.saturating_mul(2);
        }
    }

    /// The pages with a cell above `since`.
    fn copy(&self, since: Seq) -> TableCopy {
        let mut moved: Vec<u32> =
            self.cells.iter().filter(|(_, seq)| **seq > since).map(|(cell, _)| cell / CELLS_PER_PAGE).collect();
        moved.dedup();
        let page = |page: u32| {
            let first = page.saturating_mul(CELLS_PER_PAGE);
            let cells = first..first.saturating_add(CELLS_PER_PAGE).min(self.size);
            Page { first, cells: cells.flat_map(|cell| self.cells.get(&cell).map_or(0, |seq| seq.0).to_be_bytes()).collect() }
        };
        TableCopy { cells: self.size, all: self.all, pages: moved.into_iter().map(page).collect() }
    }
}

impl Room {
    pub(super) fn new(run: u64) -> Self {
        Self { past: Past::default(), run, last_era: None, readers: Vec::new() }
    }

    /// What there is to save.
    pub(super) fn past(&self) -> Past {
        self.past.clone()
    }

    /// The server comes back with what it had saved, in another life.
    pub(super) fn restore(&mut self, past: Past, run: u64) {
        (self.past, self.run) = (past, run);
    }

    /// Moves the lane on to a seq above the last one, and not behind the clock where what another life has left is trusted; else another era
    /// begins there, for that one may have told more. Returns the seq before it, zero in a new era, and where the lane now stands.
    /// Of a caller: the highest point told to it, and the size of a table to begin.
    pub(super) fn advance(&mut self, now: Millis, floor: Point, cells: u32) -> (Seq, Point) {
        let lasting = self.past.run == self.run || self.past.trusted;
        let standing = self.standing(now, floor).filter(|_| lasting);
        let Some(previous) = standing else { return (Seq(0), self.begin(now, floor, cells)) };
        let clock = if self.past.trusted { micros(now) } else { 0 };
        let point = Point { seq: Seq(clock.max(previous.seq.0.saturating_add(1))), ..previous };
        self.past.state = Some(point);
        (previous.seq, point)
    }

    /// Where the lane stands, with a table of at least `cells`; begins an era if it stands nowhere.
    /// A state that another life of the server has left may lack what was acknowledged after it was saved: it is taken as it is if it
    /// `outlives_runs`, else another era begins.
    pub(super) fn check(&mut self, now: Millis, floor: Point, (cells, outlives_runs): (u32, bool)) -> LaneState {
        // Whether it may count on from a higher floor is as the last check has said; whether the past is trusted, as this one says.
        let standing = self.standing(now, floor);
        self.past.trusted = outlives_runs;
        let lasting = self.past.run == self.run || outlives_runs;
        let point = standing.filter(|_| lasting).unwrap_or_else(|| self.begin(now, floor, cells));
        (self.past.state, self.past.run) = (Some(point), self.run);
        self.past.table.grow(cells);
        LaneState { point, server_millis: now.0, cells: self.past.table.size, run: self.run }
    }

    /// Where it stands, unless it has gone back behind what it had told. Where that is trusted it goes on from there, if the clock has not
    /// gone back as well.
    fn standing(&self, now: Millis, floor: Point) -> Option<Point> {
        let state = self.past.state?;
        if state.era != floor.era || state.seq >= floor.seq {
            return Some(state);
        }
        (self.past.trusted && micros(now) >= floor.seq.0).then_some(floor)
    }

    /// Begins a fresh era: random, so that two lanes with the same past do not meet again, and never the one that was lost.
    fn begin(&mut self, now: Millis, floor: Point, cells: u32) -> Point {
        let era = std::iter::repeat_with(|| Era(fastrand::u32(1..))).find(|era| self.last_era != Some(*era)).unwrap_or(Era(1));
        self.last_era = Some(era);
        let point = Point { era, seq: Seq(micros(now).max(floor.seq.0.saturating_add(1))) };
        let table = Table { size: cells, ..Table::default() };
        self.past = Past { state: Some(point), run: self.run, table, ..self.past };
        point
    }

    /// Writes `seq` into the cells of a tag.
    pub(super) fn mark(&mut self, tag: TagHash, seq: Seq) {
        let table = &mut self.past.table;
        table.cells.extend(tag.cells(table.size).map(|cell| (cell, seq)));
    }

    /// Writes `seq` into the place of everything.
    pub(super) fn mark_all(&mut self, seq: Seq) {
        self.past.table.all = seq;
    }

    /// The parts of the tag table that were bumped after `since`.
    pub(super) fn table(&self, since: Seq) -> TableCopy {
        self.past.table.copy(since)
    }

    /// Forgets everything but who reads.
    pub(super) fn flush(&mut self) {
        self.past = Past::default();
    }

    /// Opens a reader's mail.
    pub(super) fn subscribe(&mut self, id: ReaderId, instance: usize, mailbox: Mailbox) -> UnboundedReceiver<Parcel> {
        let (mail, receiver) = unbounded_channel();
        self.readers.retain(|reader| !reader.mail.is_closed());
        self.readers.push(Reader { id, instance, mailbox, mail, sent: 0 });
        receiver
    }

    /// The readers, each with its instance, oldest first; of some mailboxes alone, if they are named.
    pub(super) fn readers(&self, of: Option<&[Mailbox]>) -> impl Iterator<Item = (ReaderId, usize)> {
        let readers = self.readers.iter().filter(move |reader| !reader.mail.is_closed() && reader.is_of(of));
        readers.map(|reader| (reader.id, reader.instance))
    }

    /// How many parcels a reader was sent; nothing where its subscription has ended.
    pub(super) fn sent(&self, id: ReaderId) -> Option<u64> {
        self.readers.iter().find(|reader| reader.id == id).map(|reader| reader.sent)
    }

    /// Puts a parcel into the mail of one reader.
    pub(super) fn send(&mut self, id: ReaderId, parcel: Parcel) {
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.id == id) {
            reader.send(parcel);
        }
    }

    /// Puts `message` into the mail of every reader, or of those of some mailboxes, as planned. Returns whose copies went astray.
    pub(super) fn publish(&mut self, to: Option<&[Mailbox]>, message: &Arc<[u8]>, mut deliveries: Deliveries) -> Vec<ReaderId> {
        let mut astray = Vec::new();
        self.readers.retain_mut(|reader| {
            if !reader.is_of(to) {
                return true;
            }
            let planned = deliveries.iter().position(|(id, _)| *id == reader.id);
            let plan = planned.map_or_else(Plan::go, |at| deliveries.swap_remove(at).1);
            let (parcel, stray) = Parcel::planned(message, plan);
            let lives = !matches!(parcel.content, Content::Broken(_));
            reader.send(parcel);
            astray.extend(stray.then_some(reader.id));
            lives && !reader.mail.is_closed()
        });
        astray
    }

    /// Where the lane stands, if it does.
    #[cfg(feature = "testing")]
    pub(super) fn point(&self) -> Option<Point> {
        self.past.state
    }

    /// Ends the subscriptions of the instances that are named.
    #[cfg(feature = "testing")]
    pub(super) fn break_those(&mut self, named: impl Fn(usize) -> bool, fault: &Fault) {
        for mut reader in self.readers.extract_if(.., |reader| named(reader.instance)) {
            reader.send(Parcel { gate: None, content: Content::Broken(fault.clone()) });
        }
    }

    /// Ends every subscription.
    pub(super) fn break_all(&mut self, fault: &Fault) {
        for mut reader in self.readers.drain(..) {
            reader.send(Parcel { gate: None, content: Content::Broken(fault.clone()) });
        }
    }
}

fn micros(now: Millis) -> u64 {
    now.0.saturating_mul(1_000)
}
