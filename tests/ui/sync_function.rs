use cachetier::cached;

#[cached(key = "user:{id}", ttl = "5m")]
fn load(id: u64) -> u64 {
    id
}

fn caller() -> u64 {
    load(1)
}

fn main() {}
