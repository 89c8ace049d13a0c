use cachetier::cached;

#[cached(ttl = "5m")]
async fn load((org, id): (u64, u64)) -> u64 {
    org + id
}

fn main() {}
