use cachetier::cached;

struct Pool;

#[cached(ttl = "5m")]
async fn load(pool: &Pool, id: u64) -> u64 {
    let _ = pool;
    id
}

fn main() {}
