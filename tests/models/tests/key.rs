//! The key protocol holds under lost, late and doubled commands, and each weaker rule breaks a guarantee.

use cachetier_models::{key, test_cases};

test_cases! { key::cases() =>
    a_ticket_that_was_never_confirmed_must_not_be_filled: "a ticket filled whose probe was never answered",
    a_probe_must_not_be_sent_twice: "a probe sent twice with one stamp",
    an_invalidation_must_detach_the_flight: "no detaching",
    a_pending_key_must_not_be_read_from_l2: "a pending key is readable",
    a_pending_key_read_from_l2_leaves_an_old_entry_in_l1: "a pending key is readable, seen in L1",
    the_answer_must_drop_again_if_own_messages_are_skipped: "no second drop, own message skipped",
    the_answer_must_drop_again_even_if_own_messages_are_applied: "no second drop, own message applied",
    giving_up_must_drop_again_if_own_messages_are_skipped: "giving up drops nothing, own message skipped",
    giving_up_must_drop_again_even_if_own_messages_are_applied: "giving up drops nothing, own message applied",
    a_refused_fill_must_not_stay_in_l1: "a foreign DEL, and a refused fill kept in L1",
    an_entry_without_a_stamp_must_be_bounded_in_time: "a foreign DEL, and what was never in L2 stays in L1 as long as anything",
    a_set_in_one_script_may_arrive_after_a_newer_invalidation: "set in one script",
    a_message_must_not_overtake_its_delete: "cluster: publish, then DEL",
    the_protocol_holds_for_two_loads_each: "RECOMMENDED 2 loads each, A writes twice, 1 lost answer",
    the_protocol_holds_for_two_writers: "RECOMMENDED 1 load each, both write, 1 lost answer",
    the_protocol_holds_with_claims_outages_and_two_lost_answers: "RECOMMENDED 1 load each, 1 write, 2 lost answers, CLAIM, outages",
    the_protocol_holds_with_a_foreign_delete: "RECOMMENDED a foreign DEL, 1 load each, A writes, CLAIM, 1 lost answer",
    a_set_in_two_halves_holds: "RECOMMENDED set in two halves, 1 load each, A sets twice, 1 lost answer",
    an_unanswered_probe_may_leave_its_value_in_l1: "unanswered probe kept: 2 loads each, A writes twice, 1 lost answer",
    it_may_with_claims_outages_and_two_lost_answers: "unanswered probe kept: 1 load each, 1 write, 2 lost answers, CLAIM, outages",
    it_may_with_a_foreign_delete: "unanswered probe kept: a foreign DEL, 1 load each, A writes, CLAIM, outages, 1 lost answer",
    but_it_must_be_bounded_in_time_as_well: "unanswered probe kept, a foreign DEL, and it stays as long as anything",
}
