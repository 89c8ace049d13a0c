use cachetier::{Policy, cached};

const POLICY: Policy = Policy::ttl(std::time::Duration::from_secs(5));

#[cached(key = "user:{id}", policy = POLICY, l1_ttl = "5m")]
async fn load(id: u64) -> u64 {
    id
}

fn main() {}
