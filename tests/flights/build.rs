//! Sets the condition under which the registry takes the scheduler's locks, for this crate alone.

fn main() {
    println!("cargo::rustc-cfg=cachetier_shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
