use cachetier::cached;

#[cached(key = "user:{id}", ttl = "5m", ttl_with = |seconds| *seconds)]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
