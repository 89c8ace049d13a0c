use cachetier::cached;

mod load {
    pub fn other() {}
}

#[cached(key = "user:{id}", ttl = "5m")]
async fn load(id: u64) -> u64 {
    load::other();
    id
}

fn main() {}
