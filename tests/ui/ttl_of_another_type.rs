use cachetier::cached;

const TTL: u64 = 5;

#[cached(key = "user:{id}", ttl = TTL)]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
