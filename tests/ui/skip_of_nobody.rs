use cachetier::cached;

#[cached(ttl = "5m", skip(database))]
async fn load(db: &str, id: u64) -> usize {
    db.len() + id as usize
}

fn main() {}
