//! What is served on proof is bounded whatever is lost, and each weaker rule serves something too old.

use cachetier_models::{lane, test_cases};

test_cases! { lane::cases() =>
    a_proof_counts_from_when_it_was_asked_for: "a check counts from when its answer came",
    a_gap_must_be_seen: "a gap is ignored",
    the_table_must_be_read_after_the_point_it_is_taken_over_at: "the table is read before the point that it is taken over at",
    the_table_must_be_taken_over_before_anything_is_proven: "proven before the table is taken over",
    the_first_check_must_begin_an_epoch: "the first check begins no epoch",
    a_table_that_grew_while_it_was_read_must_be_noticed: "the lane is not asked once more, and its table grows",
    suspects_must_be_judged_by_the_table: "suspects are kept by their stamp alone",
    the_epoch_must_be_noted_first_or_its_end_must_detach: "flights live on when an epoch ends, and take the one that they end in",
    the_seq_must_be_noted_first: "S is taken at the end of a load",
    l2_must_not_be_believed_without_a_proof: "L2 is believed without a proof",
    a_waiter_must_ask_for_the_epoch_or_its_end_must_detach: "flights live on when an epoch ends, and waiters ask for none",
    giving_up_must_drop_again: "giving up drops nothing",
    a_lane_that_was_lost_must_begin_another_era: "a lane that was lost begins the same era again",
    a_table_that_is_gone_must_be_noticed: "nobody sees that the table is gone",
    a_renewal_must_take_over_the_table: "a renewal takes over nothing",
    a_renewal_must_begin_an_epoch: "a renewal begins no epoch",
    a_renewal_must_ask_once_more: "a renewal does not ask once more, and the table is lost",
    a_renewal_must_not_prove_another_epoch: "a renewal's proof is kept across an epoch's end, and the lane is lost",
    a_renewal_must_compare_points_of_the_known_era: "a renewal compares a point of another era than the known one, and the lane is lost",
    a_run_must_be_told_from_another:
        "runs are not told apart, older data returns, and somebody bumps before who was told more has asked",
    where_it_is_not_a_lane_must_be_told_what_its_callers_were_told:
        "runs are not told apart, the floor is not sent, and older data returns",
    a_bump_must_tell_runs_apart_as_well:
        "a bump counts on from what another run has left, and somebody waits for its point",
    a_proof_must_name_the_connections_it_was_asked_with: "a proof vouches for every connection, and older data returns",
    they_must_be_forgotten_with_its_epoch:
        "the next epoch's proof vouches for the connections of the one before, and older data returns",
    a_tick_must_outlast_an_answer_of_another_era:
        "an own bump that another era has answered loses its tick, and the clock goes back",
    serving_without_a_proof_is_not_bounded: "limit: a copy is served without a proof (`Serve`)",
    the_bound_holds_when_messages_are_lost_late_or_doubled: "RECOMMENDED 2 bumps, 2 loads, 1 message lost, late or doubled",
    it_holds_for_three_bumps: "RECOMMENDED 3 bumps, 2 loads, 2 lost",
    it_holds_for_who_has_just_started: "RECOMMENDED an instance that has just started, 2 bumps, 2 loads, 1 lost",
    it_holds_for_waiters: "RECOMMENDED waiters, 2 bumps, 2 loads, 1 lost",
    it_holds_with_proofs_beside_the_subscription: "RECOMMENDED renewals, 2 bumps, 1 load, 1 lost",
    it_does_for_two_loads: "RECOMMENDED renewals, 1 bump, 2 loads, 1 lost",
    it_does_for_the_key_alone: "RECOMMENDED renewals, 2 bumps of the key, 2 loads, none lost",
    own_bumps_hold_when_answers_and_messages_are_lost: "RECOMMENDED own bumps, 2 bumps, 1 load, 1 answer and 1 message lost",
    they_do_with_proofs_beside_the_subscription: "RECOMMENDED own bumps, renewals, 1 bump, 1 load, 1 answer and 1 message lost",
    the_bound_holds_when_the_subscription_breaks: "RECOMMENDED a subscription breaks, 2 bumps, 2 loads, 1 lost",
    it_holds_when_the_lane_or_its_table_is_lost: "RECOMMENDED the lane or its table is lost, 2 bumps, 2 loads, 1 lost",
    it_does_then_with_proofs_beside_the_subscription: "RECOMMENDED the same, renewals, 1 bump, 1 load",
    it_holds_when_the_table_grows_as_well: "RECOMMENDED the lane or its table is lost, and it grows, 2 bumps, 1 load, 1 lost",
    it_holds_when_the_table_grows_beside_a_renewal: "RECOMMENDED the table grows, renewals, 1 bump, 1 load, 1 lost",
    it_holds_when_older_data_returns: "RECOMMENDED older data returns, 2 bumps, 1 load",
    a_point_that_is_reached_is_applied_when_older_data_returns:
        "RECOMMENDED points are waited for, older data returns, 2 bumps, 1 load",
    it_is_when_the_lane_or_its_table_is_lost:
        "RECOMMENDED points are waited for, the lane or its table is lost, 2 bumps, 2 loads, 1 lost",
    it_is_with_proofs_beside_the_subscription:
        "RECOMMENDED points are waited for, renewals, a subscription breaks, 1 bump, 2 loads, 1 lost",
    it_does_when_older_data_returns_with_proofs_beside_the_subscription: "RECOMMENDED older data returns, renewals, 1 bump, 1 load",
    it_does_with_own_bumps: "RECOMMENDED older data returns, own bumps, 1 bump, 2 loads, 1 answer lost",
    it_does_when_the_clock_goes_back_as_well: "RECOMMENDED the clock goes back as older data returns, 2 bumps, 1 load",
    a_lane_may_be_lost_with_the_clock: "RECOMMENDED the clock goes back as the lane is lost, 2 bumps, 2 loads, 1 lost",
    own_bumps_hold_then: "RECOMMENDED the same, own bumps, 2 bumps of the tag, 2 loads",
    a_follower_left_alone_finds_back: "RECOMMENDED left alone, the follower finds back from all of these",
    where_runs_are_not_told_apart_the_floor_is_enough_for_who_asks_first:
        "also right: runs are not told apart, older data returns, and who was told more asks first",
    an_own_bump_need_not_act_before_it_is_sent: "also right: an own bump acts here at its outcome alone",
    an_epoch_need_not_be_noted_first_if_its_end_detaches:
        "also right: flights take the epoch that they end in, and no epoch ends without detaching them",
    an_epoch_need_not_detach_if_it_is_noted_first: "also right: flights live on when an epoch ends, with the one that they began in",
}
