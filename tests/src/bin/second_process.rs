//! Another process of the same service: it connects, does its write, which invalidates, and ends. Its arguments: the server's address, the
//! namespace, and the organisation that it writes to.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use cachetier::{Delivery, TieredCache, invalidates};
use cachetier_tests::Reach as _;

#[invalidates(tags = ["org:{org}"])]
async fn write(org: u64) -> Result<(), std::num::ParseIntError> {
    let _ = org;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, namespace, org] = arguments.as_slice() else { return Err("usage: second_process URL NAMESPACE ORG".into()) };
    let cache = TieredCache::builder(namespace).reach(url).build().await?;
    // Its invalidations are acknowledged: with a server away they would be pending, and the test would not show what it is for.
    match cache.invalidate_tag("nobody").await? {
        Delivery::Applied(_) => {}
        _ => return Err("the server does not answer".into()),
    }
    cachetier::install(cache.clone())?;
    write(org.parse()?).await?;
    cache.flush(Duration::from_secs(5)).await?;
    println!("invalidated org:{org}");
    Ok(())
}
