//! Another process of the same service that dies between its commit and its invalidation: it holds a key under a write guard and ends
//! without another word. Its arguments: the server's address, the namespace, the key, and the guard's limit in milliseconds.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use cachetier::TieredCache;
use cachetier_tests::Reach as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, namespace, key, limit] = arguments.as_slice() else {
        return Err("usage: dying_process URL NAMESPACE KEY LIMIT".into());
    };
    let cache = TieredCache::builder(namespace).reach(url).build().await?;
    let guard = cache.guard_for([key], Duration::from_millis(limit.parse()?)).await?;
    println!("{guard:?}");
    // Without a destructor of anything, as a process dies that is killed.
    std::process::exit(0)
}
