use cachetier::invalidates;

#[invalidates(key = "user:{id}", ttl = "5m")]
async fn rename(id: u64) -> u64 {
    id
}

fn main() {}
