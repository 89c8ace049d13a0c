use cachetier::cached;

#[cached(key = "{id}", group = "user:{id}", ttl = "5m")]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
