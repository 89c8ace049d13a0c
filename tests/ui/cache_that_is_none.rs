use cachetier::cached;

#[cached(key = "user:{id}", ttl = "5m", cache = redis)]
async fn load(redis: &str, id: u64) -> u64 {
    let _ = redis;
    id
}

fn main() {}
