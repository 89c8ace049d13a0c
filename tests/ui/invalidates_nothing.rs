use cachetier::{TieredCache, invalidates};

#[invalidates(cache = cache)]
async fn rename(cache: &TieredCache, id: u64) -> u64 {
    let _ = cache;
    id
}

fn main() {}
