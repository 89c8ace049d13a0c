//! Own bumps while many are under way: the first ones go each for itself, those that come meanwhile go together, in one command, as soon as
//! one of them has come back.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::coherence::own::Teller;
use crate::error::Fault;
use crate::l2::lane::Bumped;
use crate::l2::tier::Tier;
use crate::sync::{Mutex, lock};
use crate::wire::message::Targets;

/// How many are under way before others wait.
const ALONE: usize = 16;

/// The most targets that go together, unless one caller alone has more.
const MOST: usize = 1_000;

/// The most bytes of keys that go together, likewise.
const MOST_BYTES: usize = 64 << 10;

/// The bumps of one teller that are under way or wait.
#[derive(Debug, Default)]
pub(crate) struct Together(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    under_way: usize,
    waiting: VecDeque<Waiting>,
}

/// One caller's, which goes with others'.
#[derive(Debug)]
struct Waiting {
    targets: Targets,
    answer: oneshot::Sender<Result<Bumped, Fault>>,
}

/// How a bump goes.
enum Way {
    Alone,
    WithOthers(oneshot::Receiver<Result<Bumped, Fault>>),
}

impl Together {
    fn enter(&self, targets: &Targets) -> Way {
        if self.has_room() {
            return Way::Alone;
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { targets: targets.clone(), answer };
        let mut line = lock(&self.0);
        // Room that was made meanwhile is found by nobody else.
        if line.under_way < ALONE {
            line.under_way += 1;
            return Way::Alone;
        }
        line.waiting.push_back(waiting);
        Way::WithOthers(answered)
    }

    fn has_room(&self) -> bool {
        let mut line = lock(&self.0);
        let room = line.under_way < ALONE;
        line.under_way += usize::from(room);
        room
    }

    /// One has come back, or was given up: those that go in its place. Whose caller is gone waits in the outbox.
    fn next(&self) -> Vec<Waiting> {
        let mut line = lock(&self.0);
        let (mut batch, mut targets, mut bytes) = (Vec::new(), 0_usize, 0_usize);
        while let Some(first) = line.waiting.front() {
            if first.answer.is_closed() {
                line.waiting.pop_front();
                continue;
            }
            targets = targets.saturating_add(first.targets.len());
            bytes = bytes.saturating_add(first.targets.keys.iter().map(String::len).sum());
            if (targets > MOST || bytes > MOST_BYTES) && !batch.is_empty() {
                break;
            }
            batch.extend(line.waiting.pop_front());
        }
        if batch.is_empty() {
            line.under_way = line.under_way.saturating_sub(1);
        }
        batch
    }
}

/// Sends a bump, for itself or with others. How many of its keys held something is not told of one that went with others.
///
/// Cancel safety: dropped while it waits, it may be sent all the same; dropped under way, it makes room for the next.
pub(super) async fn send<T: Teller>(teller: &Arc<T>, tier: &Arc<Tier>, targets: &Targets) -> Result<Bumped, Fault> {
    match teller.together().enter(targets) {
        Way::Alone => {
            let _room = Room { teller: Arc::clone(teller), tier: Arc::clone(tier), left: false };
            tier.bump(targets, teller.floor()).await
        }
        Way::WithOthers(answered) => answered.await.unwrap_or_else(|_| Err(Fault::Unanswered("the runtime has ended".into()))),
    }
}

/// Room for one command under way: whoever has it hands it on.
struct Room<T: Teller> {
    teller: Arc<T>,
    tier: Arc<Tier>,
    /// Nobody waited for it.
    left: bool,
}

impl<T: Teller> Drop for Room<T> {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let batch = self.teller.together().next();
        if !batch.is_empty() {
            let room = Self { teller: Arc::clone(&self.teller), tier: Arc::clone(&self.tier), left: false };
            // Nobody's own: a caller that is dropped does not take the others with it.
            self.tier.tasks().begin(room.send_all(batch));
        }
    }
}

impl<T: Teller> Room<T> {
    /// One batch after the other, until nobody waits.
    async fn send_all(mut self, mut batch: Vec<Waiting>) {
        while !batch.is_empty() {
            self.send(batch).await;
            // In a loop: where the server is away each is answered at once, and one within the other would end the stack.
            batch = self.teller.together().next();
        }
        self.left = true;
    }

    async fn send(&self, batch: Vec<Waiting>) {
        let mut targets = Targets::default();
        let answers: Vec<_> = batch
            .into_iter()
            .map(|waiting| {
                targets.extend(waiting.targets);
                waiting.answer
            })
            .collect();
        self.teller.went_together(answers.len());
        let bumped = self.tier.bump(&targets, self.teller.floor()).await;
        for answer in answers {
            // An error means that nobody waits for it any longer.
            let _ = answer.send(bumped.clone());
        }
    }
}
