//! Shortens a history that breaks a promise: takes steps out, then makes what fares badly fare well, as long as it still breaks one.

use crate::history::run;
use crate::step::{Fate, Step};

/// How many histories are tried at most.
const TRIES: u32 = 3_000;

/// Returns a shorter history that breaks a promise too, if one is found.
pub(crate) fn shrink(seed: u64, steps: &[Step]) -> Vec<Step> {
    let mut shrinking = Shrinking { seed, steps: steps.to_vec(), tries: TRIES };
    loop {
        let before = shrinking.steps.clone();
        shrinking.take_out();
        shrinking.simplify();
        if shrinking.steps == before || shrinking.tries == 0 {
            return shrinking.steps;
        }
    }
}

struct Shrinking {
    seed: u64,
    steps: Vec<Step>,
    tries: u32,
}

impl Shrinking {
    /// Keeps `steps` if they break a promise, too.
    fn tries(&mut self, steps: Vec<Step>) -> bool {
        if self.tries == 0 {
            return false;
        }
        self.tries -= 1;
        let breaks = run(self.seed, &steps, false).violation.is_some();
        if breaks {
            self.steps = steps;
        }
        breaks
    }

    fn take_out(&mut self) {
        let mut size = self.steps.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.steps.len() {
                let mut fewer = self.steps.clone();
                fewer.drain(at..(at + size).min(self.steps.len()));
                if !self.tries(fewer) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    fn simplify(&mut self) {
        for at in 0..self.steps.len() {
            for call in 0..3 {
                let mut simpler = self.steps.clone();
                let (Step::Load { calls, .. } | Step::Get { calls, .. } | Step::Mutate { calls, .. }) = &mut simpler[at] else {
                    break;
                };
                if std::mem::replace(&mut calls[call], Fate::WELL) != Fate::WELL {
                    self.tries(simpler);
                }
            }
        }
    }
}
