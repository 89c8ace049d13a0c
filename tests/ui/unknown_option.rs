use cachetier::cached;

#[cached(key = "user:{id}", tll = "5m")]
async fn load(id: u64) -> u64 {
    id
}

async fn caller() -> u64 {
    load(1).await
}

fn main() {}
