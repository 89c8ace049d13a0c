use cachetier::cached;

#[cached(key = "user:{id}", ttl = "5m", skip(db))]
async fn load(db: &str, id: u64) -> usize {
    db.len() + id as usize
}

fn main() {}
