use cachetier::cached;

#[cached(key = "user:{id}", ttl = "0s")]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
