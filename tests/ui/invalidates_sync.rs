use cachetier::invalidates;

#[invalidates(key = "user:{id}")]
fn rename(id: u64) -> u64 {
    id
}

fn main() {}
