use cachetier::cached;

#[cached(key = "user:{id}")]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
