//! The front with key cells holds, and each other order of its steps serves something too old.

use cachetier_models::{front, test_cases};

test_cases! { front::cases() =>
    an_evicted_entry_cannot_be_marked: "no key cells: an invalidation marks what it finds in the store",
    a_cell_moved_before_the_removal_vouches_for_the_old_entry: "the cell moved before the entry is removed",
    a_cell_loaded_after_the_entry_vouches_for_the_old_entry: "the cell loaded after the entry",
    key_cells_moved_after_and_loaded_before_hold: "RECOMMENDED 2 writes, 3 loads",
}
