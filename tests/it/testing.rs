//! The testing kit as a user of the crate sees it: how little a test takes.
#![forbid(unsafe_code)]

/// What the page on testing promises, and what `users_service.rs` is there to show.
#[test]
fn a_service_and_its_test_with_an_outage_a_jump_and_two_instances_take_fewer_than_60_lines() {
    let text = include_str!("users_service.rs");
    let lines = text.lines().count();
    assert!(lines < 60, "{lines} lines");
    for part in ["#[cached(", "#[invalidates(", "Group::new(2)", ".outage()", ".recover()", ".jump(", "assert_loads!("] {
        assert!(text.contains(part), "it shows no `{part}`");
    }
}
