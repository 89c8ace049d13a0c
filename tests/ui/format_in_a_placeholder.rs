use cachetier::cached;

#[cached(key = "user:{id:>8}", ttl = "5m")]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
