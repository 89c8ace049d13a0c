use std::rc::Rc;

use cachetier::invalidates;

#[invalidates(key = "user:{id}")]
async fn rename(id: u64) -> Result<Rc<u64>, String> {
    Ok(Rc::new(id))
}

fn sent(_: impl Send) {}

fn main() {
    sent(rename(7));
}
