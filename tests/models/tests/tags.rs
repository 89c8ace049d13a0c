//! Own bumps, ticks and waiters hold, and each weaker rule serves something too old.

use cachetier_models::{tags, test_cases};

test_cases! { tags::cases() =>
    marking_hits_with_the_applied_seq_overlooks_own_bumps: "'nothing new is applied' as the hit test",
    a_message_that_leaves_the_generation_leaves_old_marks: "messages do not move the generation",
    an_own_bump_that_waits_for_its_seq_is_overlooked: "no ticks: an own bump without a seq does nothing here",
    a_pending_tag_must_not_be_read_from_l2: "a pending tag is readable",
    giving_up_must_make_another_tick: "giving up makes no new tick",
    a_waiter_must_judge_what_it_joined: "a waiter takes what it joined",
    a_cell_between_two_seqs_is_no_test_for_a_waiter: "a waiter looks for the cell between two seqs",
    ticks_the_generation_and_the_waiters_rule_hold: "RECOMMENDED nothing told between flight and call, or the cell is older",
    a_waiter_may_judge_the_flight_when_it_joins: "also right: the waiter judges the flight when it joins",
}
