use cachetier::cached;

#[cached(key = "user:{id}", ttl = "5m", stale_if_error = "5s")]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
