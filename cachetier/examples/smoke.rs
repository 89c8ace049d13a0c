use cachetier::*;
use std::time::{Duration, Instant};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = InProcess::new();
    let build = || { let b = TieredCache::builder("shop"); match std::env::var("REDIS_URL") { Ok(u) => b.redis(u), _ => b.in_process(&hub) } };
    let (a, b) = (build().build().await?, build().build().await?);
    let p = Policy::ttl(Duration::from_secs(60));
    let loads = AtomicU32::new(0);
    for (n, c) in [("a", &a), ("a", &a), ("b", &b), ("b", &b)] {
        let t = Instant::now();
        let v: u64 = c.get_or_load("user:1", p.tags(["users"]), || async { loads.fetch_add(1, SeqCst); Ok::<_, std::io::Error>(42) }).await?;
        println!("{n} {v} {:?} loads {}", t.elapsed(), loads.load(SeqCst));
    }
    println!("{:?}", a.invalidate_tag("users").await?);
    tokio::time::sleep(Duration::from_millis(20)).await;
    println!("after tag: a {:?} b {:?}", a.get::<u64>("user:1").await, b.get::<u64>("user:1").await);
    println!("{:?}", a.set("user:1", 43u64, p).await?);
    tokio::time::sleep(Duration::from_millis(20)).await;
    println!("after set: a {:?} b {:?}", a.get::<u64>("user:1").await, b.get::<u64>("user:1").await);
    println!("{:?}", b.invalidate_prefix("user:").await?);
    tokio::time::sleep(Duration::from_millis(20)).await;
    println!("after prefix: a {:?} b {:?}", a.get::<u64>("user:1").await, b.get::<u64>("user:1").await);
    loads.store(0, SeqCst);
    let loads = std::sync::Arc::new(loads);
    let mut set = tokio::task::JoinSet::new();
    for i in 0..1000 { let c = if i % 2 == 0 { a.clone() } else { b.clone() }; let loads = loads.clone(); set.spawn(async move { c.get_or_load("hot", Policy::ttl(Duration::from_secs(60)), || async { loads.fetch_add(1, SeqCst); tokio::time::sleep(Duration::from_millis(50)).await; Ok::<_, std::io::Error>(7u64) }).await.unwrap() }); }
    while set.join_next().await.is_some() {}
    println!("stampede loads {}", loads.load(SeqCst));
    println!("{:?}", a.clear().await);
    println!("{}", a.stats());
    a.close(Duration::from_secs(1)).await?;
    Ok(())
}
