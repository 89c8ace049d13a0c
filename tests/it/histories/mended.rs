//! Histories that once broke a promise, as short as they were found, and some that are too rare to be left to the dice. Each says
//! what went wrong, or would.

use cachetier_tests::End;

use crate::history::run;
use crate::step::{Fate, Mutation, Run, Step};

const WELL: [Fate; 3] = [Fate::WELL; 3];

/// A `get_or_load` of the first key that fares well, and whose loader may be held.
fn load(cache: usize, held: bool) -> Step {
    Step::Load { cache, key: 0, calls: WELL, held, end: End::Well }
}

fn invalidate(cache: usize) -> Step {
    Step::Mutate { cache, what: Mutation::Key(0), commits: true, calls: WELL }
}

#[track_caller]
fn check(steps: &[Step]) {
    let outcome = run(0, steps, true);
    assert_eq!(outcome.violation, None, "after:\n{}", outcome.story.join("\n"));
}

/// Who called without a proof joined a load that had begun long before what it had missed.
#[test]
fn a_load_from_before_the_bound_is_not_waited_for_without_proof() {
    check(&[Step::Hold { cache: 1 }, load(1, true), invalidate(0), Step::Suspend { millis: 6_000 }, load(1, false)]);
}

/// A proof that came while the caller waited was taken for one that it had had when it joined.
#[test]
fn a_proof_that_comes_during_the_wait_proves_nothing_of_the_load() {
    let wait = Step::Wait { millis: 600 };
    check(&[Step::Hold { cache: 1 }, load(1, true), invalidate(0), Step::Suspend { millis: 61_000 }, load(1, false), wait]);
}

/// Neither the bump nor its repetition reaches the tier: only the process's own count of its bumps knows of it.
#[test]
fn an_unconfirmed_bump_of_a_prefix_holds_where_it_was_made() {
    let lost = Fate { run: Run::Lost, ..Fate::WELL };
    let bump = Step::Mutate { cache: 0, what: Mutation::Prefix("p:"), commits: true, calls: [lost; 3] };
    check(&[load(0, false), Step::Background { cache: 0, fate: lost }, bump, load(0, false)]);
}

/// The old value is read again between the bump's begin and its giving up.
#[test]
fn what_is_read_before_an_invalidation_is_given_up_goes_with_it() {
    let given_up = Fate { held: true, run: Run::Unanswered, answer_held: false };
    let bump = Step::Mutate { cache: 0, what: Mutation::Key(0), commits: true, calls: [given_up; 3] };
    let repeat = Step::Background { cache: 0, fate: Fate { run: Run::Lost, ..Fate::WELL } };
    let release = Step::Release { pick: 0 };
    check(&[Step::Hold { cache: 0 }, load(1, false), bump, load(0, false), repeat, release, load(0, false)]);
}
