//! The coherence protocol of `cachetier` as small models, each explored until no new state is left.
//!
//! The models know nothing of the code: they are the protocol's argument, not its test. A rule that cannot be weakened
//! without a counter-example has a reason to exist; a rule that can, has not. So every model comes with its *ablations*:
//! the same model with one rule taken away, and the guarantee that then breaks.
//!
//! | model | what it is about |
//! |---|---|
//! | [`fence`] | why a fill is a compare-and-swap from a ticket, and why a flight must be detached |
//! | [`key`] | the whole life of one key when commands, replies and processes are late, lost or doubled |
//! | [`tags`] | the bumps of one tag by the process that reads it, and who may take the value of a flight |
//! | [`front`] | a front of recently hit entries before the store of the process |
//! | [`doubt`] | an invalidation by pattern, while copies are held of keys that L2 has lost |
//! | [`lease`] | who may put a newer value in the place of a stale one, and what that may be |
//! | [`lane`] | what may be served when messages, subscriptions, the lane and its table are lost, and what proves that none was |
//!
//! # The guarantees
//!
//! | name | what must hold in every state |
//! |---|---|
//! | [`G1`] | L2 never holds a value older than an acknowledged invalidation |
//! | [`G2`] | L1 never holds a value older than an acknowledged invalidation, unless that message is still under way |
//! | [`B`] | the same where messages may be lost: nothing is served that is older than what was acknowledged when its proof was asked for |
//! | [`G3`] | no process serves a value older than an invalidation that it was itself told of, be it as applied or as pending |
//! | [`F`] | L1 holds nothing older than an acknowledged invalidation that L2 refused or never had, for no message or stamp would tell |
//! | [`W`] | neither L1 nor L2 holds a value older than what was committed under a write guard that was then lost |
//! | [`L`] | no caller can join a flight whose value is older than an invalidation that its process was told of |
//! | [`T`] | no waiter gets a value older than a bump that its process knew of when the waiter called |
//! | [`O`] | no two have the lease of one value, unless the time of one is over |
//! | [`H`] | whoever waits for a lease, waits for somebody who can still store something |
//! | [`R`] | whoever finds a point reached finds nothing older here than the bump that stands there |
//! | [`P`] | left alone, the follower comes to a proof, from wherever it is |
//!
//! # What a clean run means
//!
//! It means that no state reachable *at the sizes of that case* breaks a guarantee, up to one doubt: visited states are
//! remembered by a 64-bit hash, and a collision would hide a state. With two million states the odds are about one in
//! ten million. Sizes are small on purpose (two processes, two writes, a lost message or two): every counter-example
//! found so far needed no more. Time is in none of the models but as what a proof of [`lane`] stands for and as the end
//! of a [`lease`]; liveness only as what a follower does when it is left alone, and who waits for whose lease; of crashes only that of a
//! write guard, and of who has a lease.
//!
//! `cargo run --release -p cachetier-models` prints the cases that the tests run, with the shortest counter-example of
//! each ablation; with `all` as the argument it runs the long ones too, with `all lane` only those of that model.

pub mod case;
pub mod doubt;
pub mod fence;
pub mod front;
pub mod key;
pub mod lane;
pub mod lease;
pub mod tags;

/// L2 never holds a value older than an acknowledged invalidation.
pub const G1: &str = "G1: L2 holds nothing older than an acknowledged invalidation";
/// L1 never holds a value older than an acknowledged invalidation, unless its message is still under way.
pub const G2: &str = "G2: L1 holds nothing older than an acknowledged invalidation, once no message is under way";
/// What is served is no older than what was acknowledged when the proof that lets it be served was asked for.
pub const B: &str = "G2: nothing is served that is older than what was acknowledged when its proof was asked for";
/// A process serves nothing older than an invalidation that it was itself told of.
pub const G3: &str = "G3: nothing is served that is older than an invalidation its process was told of";
/// L1 holds nothing older than an acknowledged invalidation that L2 refused or never had.
pub const F: &str = "F: L1 holds nothing older than an acknowledged invalidation that L2 refused or never had";
/// What was committed under a write guard that was then lost is not hidden by anything older.
pub const W: &str = "W: nothing is kept that is older than what a lost write guard has committed, once no message is under way";
/// Later callers join no flight whose value is older than an invalidation that its process was told of.
pub const L: &str = "L: no attached flight brings a value older than an invalidation its process was told of";
/// Waiters get nothing older than a bump that was known when they called.
pub const T: &str = "T: no waiter gets a value older than a bump known where it called";
/// One instance at a time has the lease of a value.
pub const O: &str = "O: no two have the lease of one value, unless the time of one is over";
/// A lease that goes on is that of somebody who can use it, where nobody dies and every command is answered.
pub const H: &str = "H: a lease that goes on is that of somebody who can still store something";
/// A point that is reached is the point of a bump that is applied.
pub const R: &str = "R: nothing is kept that is older than a bump whose point is reached";
/// Left alone, an instance comes into step with the lane.
pub const P: &str = "P: left alone, the follower comes to a proof";
