//! The hand that owns the proxies and the processes: breaks connections in every way there is, freezes and kills processes, and mends all that.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use cachetier_tests::{Flow, Flows, Proxy, Which};
use tokio::runtime::Runtime;

use super::fleet::Fleet;
use super::{Made, Spread};
use crate::event::Record;
use crate::plan::{Kind, Planned};

pub(super) struct NetworkHand<'a> {
    pub(super) proxies: &'a Arc<[Proxy]>,
    pub(super) fleet: &'a mut Fleet,
    pub(super) runtime: &'a Runtime,
    pub(super) record: &'a Record,
    pub(super) spread: Spread,
}

impl NetworkHand<'_> {
    pub(super) fn make(&mut self, planned: &Planned) -> Result<Made, String> {
        if planned.kind == Kind::InstanceFrozen {
            return self.freeze(planned);
        }
        if planned.kind == Kind::InstanceKilled {
            return self.kill(planned);
        }
        let proxy = self.proxies.get(usize::from(planned.instance)).ok_or("no such instance")?;
        let before = proxy.taken();
        let coin = planned.dice.is_multiple_of(2);
        let touched = proxy.touched();
        let every = 20 + u32::try_from(planned.dice % 130).unwrap_or_default();
        match planned.kind {
            Kind::Cut => proxy.cut(Which::All),
            Kind::Refused => {
                proxy.refuse(true);
                proxy.cut(Which::All);
            }
            Kind::Hole => proxy.order(Which::All, Flows::both(Flow::Swallow)),
            Kind::Late if coin => proxy.order(Which::All, Flows { up: Flow::Hold, down: Flow::Pass }),
            Kind::Late => proxy.order(Which::Plain, Flows { up: Flow::Hold, down: Flow::Pass }),
            Kind::ReplyLate => proxy.order(Which::Plain, Flows { up: Flow::Pass, down: Flow::Hold }),
            Kind::MessageLost => proxy.order(Which::Subscribed, Flows { up: Flow::Pass, down: Flow::LoseMessages { every } }),
            Kind::MessageLate => proxy.order(Which::Subscribed, Flows { up: Flow::Pass, down: Flow::LateMessages { every } }),
            Kind::CutMidReply => {
                let after = 1 + usize::try_from(planned.dice % 400).unwrap_or_default();
                proxy.order(Which::All, Flows { up: Flow::Pass, down: Flow::CutAfter(after) });
            }
            Kind::Slow => proxy.order(Which::All, Flows::both(Flow::Delay(Duration::from_millis(1 + planned.dice % 80)))),
            Kind::HalfOpen => proxy.now(Which::All, Flows::half_open()),
            Kind::PubsubCut => proxy.cut(Which::Subscribed),
            Kind::PubsubHole if coin => proxy.order(Which::Subscribed, Flows::both(Flow::Swallow)),
            Kind::PubsubHole => proxy.order(Which::Subscribed, Flows { up: Flow::Pass, down: Flow::Swallow }),
            other => return Err(format!("{other:?} is not the network's")),
        }
        sleep(planned.length);
        proxy.restore();
        let effect = if matches!(planned.kind, Kind::MessageLost | Kind::MessageLate) {
            format!("{} messages, one in {every}", proxy.touched() - touched)
        } else {
            format!("{} new connections", proxy.taken() - before)
        };
        Ok(Made { instance: Some(planned.instance), effect })
    }

    /// In one process all instances freeze at once.
    fn freeze(&mut self, planned: &Planned) -> Result<Made, String> {
        let number = usize::from(planned.instance / self.spread.each());
        let process = self.fleet.processes.get_mut(number).ok_or("no such process")?;
        process.stop().map_err(|error| format!("an instance cannot be frozen: {error}"))?;
        sleep(planned.length);
        process.resume().map_err(|error| format!("an instance cannot go on: {error}"))?;
        Ok(Made { instance: self.met(planned), effect: String::new() })
    }

    /// In one process all instances end at once.
    fn kill(&mut self, planned: &Planned) -> Result<Made, String> {
        let number = usize::from(planned.instance / self.spread.each());
        self.fleet.kill(number, self.record)?;
        sleep(planned.length);
        let successors = self.fleet.succeed(number, self.runtime)?;
        Ok(Made { instance: self.met(planned), effect: format!("number {successors} in its place") })
    }

    /// Whom it meets that a process of instances is frozen or killed.
    fn met(&self, planned: &Planned) -> Option<u16> {
        (self.spread == Spread::Processes).then_some(planned.instance)
    }
}
