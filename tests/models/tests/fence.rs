//! The fence holds, and each weaker way to fill a cache breaks it.

use cachetier_models::{fence, test_cases};

test_cases! { fence::cases() =>
    a_blind_set_undoes_an_invalidation: "GET, load, SET",
    an_evicted_generation_counter_lets_an_old_load_through: "a generation counter that Redis may evict",
    tickets_that_look_alike_let_an_old_load_through: "tickets that look alike",
    a_load_that_is_not_detached_survives_its_invalidation_in_l1: "no detaching",
    dropping_before_the_delete_only_leaves_an_old_entry: "own message skipped, dropped before the DEL only",
    a_ticket_and_detaching_hold: "RECOMMENDED 2 writes, 2 loads each",
    a_ticket_and_detaching_hold_for_three_writes: "RECOMMENDED 3 writes, 2 loads each",
    a_ticket_and_detaching_hold_for_three_processes: "RECOMMENDED 3 processes, 2 writes, 1 load each",
    own_messages_may_be_skipped_if_the_drop_comes_after_the_delete: "also right: own message skipped, dropped after the DEL",
    a_generation_counter_holds_as_long_as_it_is_never_lost: "also right: a generation counter that is never lost",
    a_refused_value_does_no_harm_while_every_delete_sends_a_message: "also right here: a refused value kept in L1",
}
