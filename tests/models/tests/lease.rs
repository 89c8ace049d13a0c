//! A stale value is replaced by nothing older than what was told, and by one instance at a time; each weaker rule breaks one of these.

use cachetier_models::{lease, test_cases};

test_cases! { lease::cases() =>
    a_refill_must_compare: "a refill overwrites whatever is there",
    a_renewal_must_compare: "a renewal renews whatever is there",
    an_expiry_must_change_the_stamp: "an expiry keeps the stamp",
    an_expiry_must_end_the_lease: "an expiry leaves the lease",
    a_lease_must_be_given_back: "a lease is not given back",
    giving_back_must_name_whose_lease_it_is: "whoever gives back ends any lease",
    a_lease_without_an_answer_must_be_none: "a lease without an answer counts as taken",
    one_at_a_time_refreshes_and_nothing_older_is_stored: "RECOMMENDED 2 instances, 2 writes, 3 looks, 1 answer lost",
    nobody_is_waited_for_in_vain: "RECOMMENDED every command answered",
    it_holds_for_three_instances: "RECOMMENDED 3 instances, 1 write, 3 looks, 1 answer lost",
    it_holds_when_one_dies: "RECOMMENDED 3 instances, 2 writes, 4 looks, 1 death",
}
