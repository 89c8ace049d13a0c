//! The hand that owns a primary, its replicas and their Sentinels: kills the primary, freezes it, has it replaced, and mends that.

use std::thread::sleep;

use cachetier_tests::Sentinels;

use super::Made;
use crate::plan::{Kind, Planned};

pub(super) struct SentinelHand<'a> {
    pub(super) sentinels: &'a mut Sentinels,
}

impl SentinelHand<'_> {
    pub(super) fn make(&mut self, planned: &Planned) -> Result<Made, String> {
        let old = self.sentinels.primary();
        let primary = self.sentinels.servers.get_mut(old).ok_or("no primary")?;
        match planned.kind {
            Kind::PrimaryKilled => primary.kill(),
            Kind::PrimaryFrozen => primary.stop(),
            Kind::PrimaryReplaced => self.sentinels.fail_over(),
            other => return Err(format!("{other:?} is not made where there are Sentinels")),
        }
        let new = self.sentinels.wait_for_another(old);
        sleep(planned.length);
        let primary = self.sentinels.servers.get_mut(old).ok_or("no primary")?;
        match planned.kind {
            Kind::PrimaryKilled => primary.restart(),
            Kind::PrimaryFrozen => primary.resume(),
            _ => {}
        }
        self.sentinels.wait_for_replicas();
        Ok(Made { instance: None, effect: format!("number {new} in the place of {old}") })
    }
}
