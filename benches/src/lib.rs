//! The ground of the benches: values of a given size, a server of their own, connections, cores, the subjects they time.
//! What is compared with what, and what it may cost, is the benches' own.
#![forbid(unsafe_code)]

mod attributed;
mod by_hand;
mod cores;
mod ground;
mod overheard;
mod payload;
mod report;
mod rounds;
mod subjects;
mod zipf;

pub use attributed::{page_each, page_key, page_of_cache, page_of_each, page_of_key, slow_page};
pub use by_hand::ByHand;
pub use cores::Pinned;
pub use ground::{Ground, POLICY};
pub use overheard::Overheard;
pub use payload::{Body, List, Page, SIZES};
pub use report::{Call, Report};
pub use rounds::{Subject, interleave, median, percentile, ratio};
pub use subjects::{
    Missing, fill, fill_by_hand, fill_raw, forget, get_by_hand_each, get_each, get_raw_each, moka_future_each, moka_sync_each,
    prefill, prefill_raw, read_each,
};
pub use zipf::zipf;

/// What can go wrong in a bench: anything, and then it ends with a line that says so.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;
