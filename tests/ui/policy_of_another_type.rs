use cachetier::cached;

#[cached(key = "user:{id}", policy = std::time::Duration::from_secs(5))]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
