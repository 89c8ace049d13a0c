use cachetier::cached;

#[cached(key = "user:{org}{id}", ttl = "5m")]
async fn load(org: u64, id: u64) -> u64 {
    org + id
}

fn main() {}
