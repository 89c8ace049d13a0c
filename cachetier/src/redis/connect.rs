//! One multiplexed connection: what is sent over it, within which limits, and when it is given up. `keep` makes it anew, and ends with its last handle.
//! What is sent is `store`'s and `lane`'s, what an answer means `answer`'s.

mod keep;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::error::Elapsed;

use crate::clock::{Clock, Millis};
use crate::error::Fault;
use crate::l2::{Limits, NotReady};
use crate::rule::breaker::BreakerState;
use crate::rule::circuit::{Circuit, Turned};
use crate::sync::lock;

use super::answer::{REPLACED, Told, Where, bounded, class, failed, is_no_primary, judged, misread, text};
use super::dial::{Connection, Dial, Unfit};
use super::guide::Guide;
use super::known::Spot;
use super::script::{self, Run, Script};
use super::version::Form;

pub(super) use self::keep::Retry;
#[cfg(test)]
pub(super) use self::keep::ceiling;
use self::keep::{keep, mind};

/// After how many commands in a row without an answer a connection is given up, if the silence has lasted for the limit of a
/// whole command as well: reads have a shorter one, and a server that pauses for as long as that is no black hole. The client
/// library would keep the connection for ever.
const SILENT: u32 = 3;

/// Whether a connection's fate is said in the log: of several to one server one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Yes,
    No,
}

/// The connection of the moment and the task that keeps it.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    keeper: AbortHandle,
    /// Hears of another primary, where somebody says which one it is.
    minder: Option<AbortHandle>,
}

#[derive(Debug)]
struct Shared {
    /// Read by every command, written by the keeper and by the command that finds the connection lost.
    state: watch::Sender<State>,
    /// How many lines there have been, one that is about to be used included.
    lines: AtomicU64,
    retry: Arc<Retry>,
    clock: Clock,
    limits: Limits,
    circuit: Mutex<Circuit>,
    told: Arc<Told>,
    /// As whom the log names the server.
    server: Option<String>,
    /// Who says which one it is, if not its address.
    guide: Option<Guide>,
}

/// A command that was sent, or is about to be.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Millis,
    limit: Duration,
    /// Whether it is small, so that it tells how fast the server is.
    small: bool,
}

#[derive(Debug)]
struct State {
    line: Option<Line>,
    /// Why there is no line.
    why: Arc<str>,
    /// The server is there, and will not do.
    unfit: Option<Unfit>,
    /// No line will ever be there again.
    closed: bool,
}

/// One connection, for as long as it lasts.
#[derive(Clone, Debug)]
pub(super) struct Line {
    connection: Connection,
    form: Form,
    /// As [`Made::run`].
    run: u64,
    /// As [`Made::spot`].
    spot: Option<Arc<Spot>>,
    /// Also tells this connection from its successors.
    pulse: Arc<Pulse>,
}

impl Line {
    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// How its server is to be asked.
    pub(super) fn form(&self) -> Form {
        self.form
    }
}

/// Whether a connection still answers.
#[derive(Debug, Default)]
struct Pulse {
    /// Whether there is a silence: all that a command which was answered looks at.
    silent: AtomicBool,
    /// When something was answered in time last.
    latest: AtomicU64,
    silence: Mutex<Option<Silence>>,
}

/// Commands in a row without an answer.
#[derive(Clone, Copy, Debug)]
struct Silence {
    count: u32,
    /// When the first of them was sent.
    since: Millis,
}

impl Pulse {
    fn answered(&self) {
        // Read first: every command passes here, and only the one after a silence has something to write.
        if self.silent.load(Ordering::Relaxed) {
            let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
            *silence = None;
            self.silent.store(false, Ordering::Relaxed);
        }
    }

    fn answered_in_time(&self, now: Millis) {
        self.latest.fetch_max(now.0, Ordering::Relaxed);
    }

    fn has_answered_in_time_since(&self, sent: Millis) -> bool {
        self.latest.load(Ordering::Relaxed) > sent.0
    }

    /// Counts a command that was sent at `sent` and has no answer.
    fn unanswered(&self, sent: Millis) -> Silence {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        self.silent.store(true, Ordering::Relaxed);
        let longer = silence.map_or(Silence { count: 1, since: sent }, |silence| Silence {
            count: silence.count.saturating_add(1),
            since: silence.since.min(sent),
        });
        *silence = Some(longer);
        longer
    }
}

impl Link {
    /// Begins to connect.
    pub(super) fn open(dial: Dial, heard: Heard) -> Result<Self, Fault> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Fault::Away("there is no tokio runtime here".into()))?;
        let (state, watched) = watch::channel(State { line: None, why: "not connected yet".into(), unfit: None, closed: false });
        let (retry, clock) = (Arc::<Retry>::default(), Clock::system());
        let shared = Arc::new(Shared {
            state,
            lines: AtomicU64::new(0),
            retry: Arc::clone(&retry),
            circuit: Mutex::new(Circuit::new(dial.settings.breaker, clock.now())),
            clock,
            limits: dial.settings.limits,
            told: Arc::clone(&dial.told),
            server: (heard == Heard::Yes).then(|| dial.to_string()),
            guide: dial.guide.clone(),
        });
        // Weak: a task that held its own link would keep it for ever.
        let minder = dial.guide.clone().filter(|_| heard == Heard::Yes);
        let minder = minder.map(|guide| runtime.spawn(mind(Arc::downgrade(&shared), guide)).abort_handle());
        let keeper = runtime.spawn(keep(Arc::downgrade(&shared), watched, retry, (dial, heard))).abort_handle();
        Ok(Self { shared, keeper, minder })
    }

    /// Waits until there is a connection, or a server that will not do.
    pub(super) async fn ready(&self, limit: Duration) -> Result<(), NotReady> {
        let mut state = self.shared.state.subscribe();
        let told = state.wait_for(|state| state.line.is_some() || state.unfit.is_some());
        let ready = matches!(tokio::time::timeout(limit, told).await, Ok(Ok(state)) if state.line.is_some());
        if ready {
            return Ok(());
        }
        let state = self.shared.state.borrow();
        Err(match &state.unfit {
            Some(Unfit { found, expected }) => NotReady::Unfit { found: Arc::clone(found), expected },
            None => NotReady::Yet(Fault::Away(Arc::clone(&state.why))),
        })
    }

    /// The connection of the moment.
    pub(super) fn line(&self) -> Result<Line, Fault> {
        self.shared.line()
    }

    /// The connection of the moment, for what can be done without: none while the breaker is open. Whoever has it asks at once.
    pub(super) fn spare_line(&self) -> Result<Line, Fault> {
        let line = self.line()?;
        self.admits()?;
        Ok(line)
    }

    /// Whether something that can be done without may be asked now.
    pub(super) fn admits(&self) -> Result<(), Fault> {
        if lock(&self.shared.circuit).admits(self.shared.clock.now(), fastrand::f64()) {
            return Ok(());
        }
        Err(Fault::Away("it was silent or slow a moment ago, and is left alone for another".into()))
    }

    /// Whether a connection to that place leads to the primary, as far as was said by now.
    pub(super) fn is_primary(&self, spot: Option<&Spot>) -> bool {
        self.shared.is_primary(spot)
    }

    /// Whether it is asked what can be done without, and how often it was not.
    pub(super) fn breaker(&self) -> (BreakerState, u64) {
        let circuit = lock(&self.shared.circuit);
        (circuit.state(), circuit.opened())
    }

    /// Now, for who will be answered in another way.
    pub(super) fn now(&self) -> Millis {
        self.shared.clock.now()
    }

    /// Gives up a line, if it is still the present one.
    pub(super) fn lose(&self, line: &Line, why: &str) {
        self.shared.lose(line, &bounded(why));
    }

    /// The number of the present line, or of a later one.
    pub(super) fn lines(&self) -> u64 {
        self.shared.lines.load(Ordering::Acquire)
    }

    /// For who is answered in another way, again and again, by the process of this life, the last time asked at `asked`. Says whether commands
    /// go to the same one, or nowhere: what is proven of one server is not of another that stands behind the same address.
    pub(super) fn agrees(&self, run: u64, asked: Millis) -> bool {
        self.shared.retry.at_once();
        let now = self.now();
        if !self.shared.is_late(asked, now) {
            lock(&self.shared.circuit).hint(asked, now);
        }
        let Ok(line) = self.shared.line() else { return true };
        let same = run == 0 || line.run == 0 || line.run == run;
        if !same {
            self.shared.lose(&line, &bounded("connected to another server than the subscription"));
        }
        same
    }

    /// For who has just reached the server, the process of this life, in another way: makes sure that it can be reached in this one as
    /// well, for at most `limit`. A connection that does not answer, or goes elsewhere, is given up now, and one that is missing is tried
    /// for without a pause.
    ///
    /// Cancel safety: what was begun goes on without it.
    pub(super) async fn revive(&self, run: u64, limit: Duration) {
        let limit = limit / 2;
        if self.agrees(run, self.now())
            && let Ok(mut line) = self.shared.line()
        {
            let ping = ::redis::cmd("PING");
            if let Ok(Ok(_)) = tokio::time::timeout(limit, line.connection.send_packed_command(&ping)).await {
                line.pulse.answered();
                return;
            }
            self.shared.lose(&line, &bounded("silent, while the server can be reached"));
        }
        self.shared.retry.at_once();
        // If it is in vain, whoever sends something is told why.
        let _ = self.ready(limit).await;
    }

    /// Sends a command over this connection, and returns its answer.
    /// Cancel safety: a command whose call is dropped may run all the same; its answer goes nowhere.
    pub(super) async fn send(&self, mut line: Line, command: &Cmd, limit: Duration) -> Result<Value, Fault> {
        let asked = self.asked(limit, true);
        let reply = tokio::time::timeout(limit, line.connection.send_packed_command(command)).await;
        self.shared.judge(&line, reply, asked)
    }

    /// As [`Link::send`], for a command whose answer may be large: how long that takes says nothing.
    pub(super) async fn send_large(&self, mut line: Line, command: &Cmd, limit: Duration) -> Result<Value, Fault> {
        let asked = self.asked(limit, false);
        let reply = tokio::time::timeout(limit, line.connection.send_packed_command(command)).await;
        self.shared.judge(&line, reply, asked)
    }

    /// Runs a script over this connection, within the limit of one command.
    /// Cancel safety: as [`Link::send`].
    pub(super) async fn run(
        &self,
        mut line: Line,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
        limit: Duration,
    ) -> Result<Value, Fault> {
        let asked = self.asked(limit, true);
        let reply = tokio::time::timeout(limit, script.run(line.form, &mut line.connection, keys, args)).await;
        self.shared.judge(&line, reply, asked)
    }

    /// Sends a command with a script behind it over this connection, and returns the script's answer, within the limit of one command.
    /// Cancel safety: as [`Link::send`].
    pub(super) async fn run_behind(
        &self,
        mut line: Line,
        first: Cmd,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
        limit: Duration,
    ) -> Result<Value, Fault> {
        let asked = self.asked(limit, false);
        let reply = tokio::time::timeout(limit, script.run_behind(first, line.form, &mut line.connection, keys, args)).await;
        self.shared.judge(&line, reply, asked)
    }

    /// Sends commands in one go, and returns their answers, within the limit of one command.
    /// Cancel safety: as [`Link::send`].
    pub(super) async fn send_many(&self, mut line: Line, commands: &Pipeline, limit: Duration) -> Result<Vec<Value>, Fault> {
        let asked = self.asked(limit, false);
        let send = line.connection.send_packed_commands(commands, 0, commands.len());
        let replies = tokio::time::timeout(limit, send).await;
        self.many(&line, replies, asked)
    }

    /// Runs scripts in one go over this connection, and returns their answers, within the limit of one command.
    /// Cancel safety: as [`Link::send`].
    pub(super) async fn run_many(&self, mut line: Line, runs: Vec<Run<'_>>, limit: Duration) -> Result<Vec<Value>, Fault> {
        let asked = self.asked(limit, false);
        let replies = tokio::time::timeout(limit, script::run_many(&mut line.connection, runs)).await;
        self.many(&line, replies, asked)
    }

    fn asked(&self, limit: Duration, small: bool) -> Asked {
        Asked { at: self.now(), limit, small }
    }

    fn many(&self, line: &Line, replies: Result<RedisResult<Vec<Value>>, Elapsed>, asked: Asked) -> Result<Vec<Value>, Fault> {
        let Value::Array(replies) = self.shared.judge(line, replies.map(|replies| replies.map(Value::Array)), asked)? else {
            return Err(misread("as many answers"));
        };
        // Of as many as there are, one tells what they have in common.
        let refused = replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) => Some(failed(&error.clone().into())),
            _ => None,
        });
        if let Some(fault) = refused {
            self.shared.tell(line, &fault);
        }
        Ok(replies)
    }

    fn end_tasks(&self) {
        self.keeper.abort();
        if let Some(minder) = &self.minder {
            minder.abort();
        }
    }

    /// Ends the connection for good. What is under way keeps it for as long as its own limit.
    pub(super) fn close(&self) {
        self.end_tasks();
        if let Some(guide) = &self.shared.guide {
            guide.close();
        }
        let mut lost = None;
        self.shared.state.send_modify(|state| {
            state.closed = true;
            state.why = "closed".into();
            lost = state.line.take();
        });
        drop(lost);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl Shared {
    fn line(&self) -> Result<Line, Fault> {
        let state = self.state.borrow();
        state.line.clone().ok_or_else(|| Fault::Away(Arc::clone(&state.why)))
    }

    fn judge(&self, line: &Line, reply: Result<RedisResult<Value>, Elapsed>, asked: Asked) -> Result<Value, Fault> {
        let now = self.clock.now();
        match &reply {
            Ok(Ok(_)) => {
                line.pulse.answered();
                if !self.is_late(asked.at, now) {
                    line.pulse.answered_in_time(now);
                    self.note(asked, now, true);
                } else if asked.small {
                    // Of what is not small, to be late says nothing.
                    self.note(asked, now, false);
                }
            }
            Ok(Err(error)) => self.lose(line, &bounded(&text(error))),
            Err(_) => {
                // What is not small may take that long; and who has answered something in time since is not slow.
                if asked.small && !line.pulse.has_answered_in_time_since(asked.at) {
                    self.note(asked, now, false);
                }
                let silence = line.pulse.unanswered(asked.at);
                if silence.count >= SILENT && silence.since.until(now) >= self.limits.command {
                    self.lose(line, &bounded(&format!("{} commands in a row had no answer", silence.count)));
                }
            }
        }
        let judged = judged(reply, asked.limit);
        if let Err(fault) = &judged {
            self.tell(line, fault);
        }
        judged
    }

    /// Whether what was asked then and is answered now has taken longer than a read waits.
    fn is_late(&self, asked: Millis, now: Millis) -> bool {
        asked.until(now) > self.limits.read.saturating_add(self.clock.grain())
    }

    /// Tells the breaker. What it comes to is said once for as long as it goes on.
    fn note(&self, asked: Asked, now: Millis, well: bool) {
        let turned = lock(&self.circuit).note(asked.at, now, well, fastrand::f64());
        let Some(server) = self.server.as_ref().filter(|_| turned.is_some()) else { return };
        match turned {
            Some(Turned::Open) if self.told.is_news(&self.place(), "SLOW", now) => {
                tracing::warn!(%server, "redis is silent or slow: what can be done without it is, but for a call now and then");
            }
            Some(Turned::Closed(after)) => tracing::debug!(%server, ?after, "redis answers in time again"),
            _ => {}
        }
    }

    /// Says what the server has refused, once for as long as it does. One that is no primary is left: another may stand behind the address, or
    /// be known to Sentinels, by now.
    fn tell(&self, line: &Line, fault: &Fault) {
        let Fault::Refused(reason) = fault else { return };
        if is_no_primary(reason) {
            self.lose(line, reason);
        }
        if reason.starts_with("MOVED") && self.guide.as_ref().is_some_and(Guide::is_cluster) {
            self.lose(line, &REPLACED.into());
            // Who has it now is asked for, and no fault; but if that goes on, nodes do not agree.
            if !self.retry.is_in_vain() {
                return;
            }
        }
        let Some(server) = self.server.as_ref().filter(|_| self.told.is_news(&self.of(line), reason, self.clock.now())) else {
            return;
        };
        let mend = class(reason).map_or("see what it says", |class| class.mend);
        tracing::warn!(%server, %reason, mend, "redis refuses: counted and told once for as long as it goes on");
    }

    /// Which of several servers a line leads to.
    fn of(&self, line: &Line) -> Where {
        self.guide.as_ref().filter(|guide| guide.is_cluster()).and_then(|_| line.spot.as_deref().cloned())
    }

    fn place(&self) -> Where {
        self.guide.as_ref().and_then(Guide::place)
    }

    fn is_primary(&self, spot: Option<&Spot>) -> bool {
        match (&self.guide, spot) {
            (Some(guide), Some(spot)) => guide.stands_by(spot),
            _ => true,
        }
    }

    /// Leaves a connection to what is not the primary any more. Whoever makes one looks once it can be used, and who hears of another primary does when
    /// that is known: so one of them finds it.
    fn leave_unless_primary(&self) {
        if let Ok(line) = self.line()
            && !self.is_primary(line.spot.as_deref())
        {
            self.lose(&line, &REPLACED.into());
        }
    }

    /// Gives up `line`, if it is still the one in use.
    fn lose(&self, line: &Line, why: &Arc<str>) {
        let mut lost = None;
        self.state.send_if_modified(|state| {
            let present = state.line.as_ref().is_some_and(|present| Arc::ptr_eq(&present.pulse, &line.pulse));
            if present {
                // Taken out of the closure: the connection's end must not run under the lock.
                lost = state.line.take();
                state.why = Arc::clone(why);
            }
            present
        });
        drop(lost);
    }
}
