//! Copies of keys that L2 has lost are checked before they are served, and each weaker rule serves something too old.

use cachetier_models::{doubt, test_cases};

test_cases! { doubt::cases() =>
    doubt_must_come_last: "the doubt comes before the walk",
    doubt_must_reach_copies_that_need_no_proof: "doubt reaches no self-evident copy",
    doubt_must_detach: "doubt detaches no flight",
    what_is_found_must_be_bumped: "what is found is deleted, and not bumped",
    the_issuer_must_doubt_again_at_the_answer: "the issuer doubts its copies before the walk alone",
    whatever_the_walk_overlooks_is_doubted: "RECOMMENDED 1 pattern, 2 loads, 1 eviction, 1 loss of proof",
    it_is_with_two_patterns: "RECOMMENDED 2 patterns, 3 loads, 2 evictions, 1 loss of proof",
    the_issuer_serves_nothing_older_than_its_pattern: "RECOMMENDED the issuer, 1 pattern, 2 loads, 1 eviction, 1 loss of proof",
    it_does_not_with_two_patterns: "RECOMMENDED the issuer, 2 patterns, 3 loads, 2 evictions, 1 loss of proof",
}
