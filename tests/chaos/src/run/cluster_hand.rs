//! The hand that owns a Cluster: kills the owner of a part's slot, freezes it, has it replaced, cuts it off, moves the slot, and mends that.

use std::thread::sleep;

use cachetier_tests::{Cluster, PARTS, lanes_in_cluster};

use super::Made;
use crate::instance::NAMESPACE;
use crate::plan::{Kind, Planned};

pub(super) struct ClusterHand<'a> {
    pub(super) cluster: &'a mut Cluster,
}

impl ClusterHand<'_> {
    pub(super) fn make(&mut self, planned: &Planned) -> Result<Made, String> {
        let dice = usize::try_from(planned.dice).unwrap_or_default();
        let (part, dice) = (dice.checked_rem(PARTS).unwrap_or_default(), dice.checked_div(PARTS).unwrap_or_default());
        let lane = lanes_in_cluster(NAMESPACE).nth(part).ok_or("no such part")?;
        let old = self.cluster.owner(&lane);
        if planned.kind == Kind::SlotMoved {
            let others: Vec<usize> = self.cluster.primaries().into_iter().filter(|primary| *primary != old).collect();
            let nth = dice.checked_rem(others.len()).unwrap_or_default();
            let new = *others.get(nth).ok_or("no other primary")?;
            self.cluster.begin_to_move(&lane, new);
            sleep(planned.length);
            self.cluster.finish_moving(&lane, new);
            self.cluster.wait_until_well();
            return Ok(Made { instance: None, effect: format!("part {part} from number {old} to number {new}") });
        }
        let node = self.cluster.nodes.get_mut(old).ok_or("no owner")?;
        match planned.kind {
            Kind::PrimaryKilled => node.kill(),
            Kind::PrimaryFrozen => node.stop(),
            Kind::PrimaryReplaced => self.cluster.fail_over(old),
            Kind::PrimaryCutOff => self.cluster.cut_off(old),
            other => return Err(format!("{other:?} is not made in a Cluster")),
        }
        let new = self.cluster.wait_for_another(&lane, old);
        sleep(planned.length);
        let node = self.cluster.nodes.get_mut(old).ok_or("no owner")?;
        match planned.kind {
            Kind::PrimaryKilled => node.restart(),
            Kind::PrimaryFrozen => node.resume(),
            _ => self.cluster.mend(),
        }
        self.cluster.wait_until_well();
        Ok(Made { instance: None, effect: format!("number {new} in the place of {old}, for part {part}") })
    }
}
