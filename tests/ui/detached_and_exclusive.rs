use cachetier::cached;

struct Db {
    queries: u64,
}

#[cached(key = "user:{id}", ttl = "1m", detached)]
async fn load(db: &mut Db, id: u64) -> u64 {
    db.queries += 1;
    id
}

// Not to be cloned: it cannot be kept.
#[cached(key = "name:{id}", ttl = "1m", detached)]
async fn name(db: &Db, id: u64) -> u64 {
    db.queries + id
}

fn main() {}
