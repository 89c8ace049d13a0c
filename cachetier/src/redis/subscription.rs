//! The reading end of a lane over a Redis server: messages and the answers of checks, in order, on a connection of its own.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::redis::{PushInfo, PushKind, Value};
use async_trait::async_trait;

use crate::error::Fault;
use crate::l2::lane::{LaneState, Subscription};
use crate::rule::seq::{Point, Seq};
use crate::rule::table::TableCopy;
use crate::wire::wake::is_word;

use super::answer::{REPLACED, judged, misread};
use super::connect::Link;
use super::dial::{Connection, Dial, Made, Pushes};
use super::known::Spot;
use super::place::Place;
use super::store::bytes;
use super::table::{Layout, Reader};
use super::version::Form;

/// The reading end of a lane: a connection of its own.
pub(super) struct RedisSubscription {
    connection: Connection,
    form: Form,
    /// The connection's task puts each message here before it looks at what the server sent next, the answer to a check
    /// included: so whatever was published before that answer is here when the answer is.
    pushes: Pushes,
    told_alone: bool,
    place: Arc<Place>,
    /// As [`Made::run`].
    run: u64,
    /// As [`Made::spot`].
    spot: Option<Spot>,
    limit: Duration,
    proves_for: Duration,
    /// The commands' connection: as long as this one is answered, it need not be waited for.
    commands: Arc<Link>,
}

impl RedisSubscription {
    /// Returns once the server has confirmed it. What was asked over `commands` is asked of the same server from then on.
    pub(super) async fn open(dial: &Dial, place: Arc<Place>, commands: Arc<Link>) -> Result<Self, Fault> {
        // Cancel safety: until it is returned, the connection belongs to this call and ends with it.
        let made = dial.connect().await.map_err(|refusal| Fault::Away(refusal.why))?;
        let Made { mut connection, form, run, pushes, spot } = made;
        let limit = dial.settings.limits.command;
        let mut listens = async |to| {
            let confirmed = tokio::time::timeout(limit, connection.send_packed_command(&to)).await;
            match judged(confirmed, limit)? {
                Value::Push { kind: PushKind::Subscribe | PushKind::SSubscribe, .. } => Ok(()),
                _ => Err(misread("a confirmation")),
            }
        };
        listens(place.listening()).await?;
        // Who lacks the right to that looks now and then for what he waits for.
        let told_alone = match listens(place.listening_alone()).await {
            Ok(()) => true,
            Err(Fault::Refused(_)) => false,
            Err(fault) => return Err(fault),
        };
        // Before anything is proven: a proof makes copies suspect that have lived without one, and whoever cannot ask for their stamps must
        // load them all.
        commands.revive(run, limit).await;
        Ok(Self {
            connection,
            form,
            pushes,
            told_alone,
            place,
            run,
            spot,
            limit,
            proves_for: dial.settings.max_staleness,
            commands,
        })
    }
}

#[async_trait]
impl Reader for RedisSubscription {
    async fn part(&mut self, part: Range<usize>) -> Result<Vec<u8>, Fault> {
        let command = self.place.part(&part);
        let part = tokio::time::timeout(self.limit, self.connection.send_packed_command(&command)).await;
        Ok(bytes(judged(part, self.limit)?)?.unwrap_or_default())
    }
}

/// What a push means to a subscription.
enum Push {
    Message(Vec<u8>),
    /// The confirmation, and whatever newer servers may have to say.
    Other,
    Lost,
}

fn read(push: PushInfo, place: &Place) -> Push {
    match push.kind {
        PushKind::Message | PushKind::SMessage => {
            let mut data = push.data.into_iter();
            match (data.next(), data.next()) {
                // Whatever else somebody says there concerns nobody.
                (Some(channel), Some(Value::BulkString(payload))) if place.is_alone(&channel) && !is_word(&payload) => Push::Other,
                (_, Some(Value::BulkString(payload))) => Push::Message(payload),
                _ => Push::Lost,
            }
        }
        // A slot that moves away takes its channels with it.
        PushKind::Disconnection | PushKind::Unsubscribe | PushKind::SUnsubscribe => Push::Lost,
        _ => Push::Other,
    }
}

fn lost() -> Fault {
    Fault::Away("the subscription is lost".into())
}

#[async_trait]
impl Subscription for RedisSubscription {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Fault>> {
        loop {
            match ready!(self.pushes.poll_recv(cx)).map_or(Push::Lost, |push| read(push, &self.place)) {
                Push::Message(payload) => return Poll::Ready(Ok(payload)),
                Push::Other => {}
                Push::Lost => {
                    self.pushes.close();
                    return Poll::Ready(Err(lost()));
                }
            }
        }
    }

    fn ready(&mut self) -> Option<Vec<u8>> {
        loop {
            match read(self.pushes.try_recv().ok()?, &self.place) {
                Push::Message(payload) => return Some(payload),
                Push::Other => {}
                Push::Lost => {
                    // Closed, so that `next` says so too.
                    self.pushes.close();
                    return None;
                }
            }
        }
    }

    async fn check(&mut self, floor: Point) -> Result<LaneState, Fault> {
        if self.pushes.is_closed() {
            // The connection may still answer when the subscription is gone: that would prove nothing.
            return Err(lost());
        }
        let (check, keys, args) = self.place.check(floor, self.run);
        let args = args.each_ref().map(Vec::as_slice);
        let asked = self.commands.now();
        let check = check.run(self.form, &mut self.connection, &keys, &args);
        let answer = judged(tokio::time::timeout(self.limit, check).await, self.limit)?;
        if let Value::Push { kind: PushKind::SUnsubscribe, .. } = answer {
            // Said unasked, and taken for the answer: the slot has gone.
            return Err(Fault::Away(REPLACED.into()));
        }
        let state = self.place.found(answer)?;
        if !self.commands.is_primary(self.spot.as_ref()) {
            return Err(Fault::Away(REPLACED.into()));
        }
        if !self.commands.agrees(state.run, asked) {
            return Err(Fault::Away("commands went to another server".into()));
        }
        Ok(state)
    }

    async fn table(&mut self, state: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        Layout::of(state.cells).read(self, state.point.era, since).await
    }

    fn proves_for(&self) -> Option<Duration> {
        Some(self.proves_for)
    }

    fn is_told_alone(&self) -> bool {
        self.told_alone
    }
}
