//! What a mistake with an attribute is told: each file in `ui/` has one, and beside it the errors that it makes.
#![forbid(unsafe_code)]

/// The release whose words the files have: the compiler's own change from one to the next.
const RECORDED_WITH: &str = "1.95";

#[test]
fn a_mistake_is_told_where_it_is_and_with_the_mend() {
    let compiler = std::process::Command::new("rustc").arg("--version").output().map(|output| output.stdout);
    let version = String::from_utf8_lossy(compiler.as_deref().unwrap_or_default()).into_owned();
    if !version.starts_with(&format!("rustc {RECORDED_WITH}.")) {
        println!("skipped: the errors were recorded with rustc {RECORDED_WITH}, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
