//! What the documentation of a public item must have: an example that runs without a server, and, if it is async, what a drop does.
//!
//! An example is the item's own, or that of the type or trait that it belongs to, where that calls it by its name.

use super::surface::Documented;

/// What has no example that runs, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("Invalidator::connect", "it connects to a server; its example is compiled and not run"),
    ("testing::assert_loads", "another name of the macro at the root, whose example runs"),
];

/// Returns a line for each item that lacks an example or a promise, and for each exception that is none.
pub(super) fn missing(items: &[Documented]) -> Vec<String> {
    let mut missing = Vec::new();
    for item in items {
        let excepted = EXCEPTIONS.iter().any(|(path, _)| *path == item.path);
        match (shown(item), excepted) {
            (false, false) => missing.push(format!("{}: expected an example that runs", item.path)),
            (true, true) => missing.push(format!("{}: has an example, and is on the list of those that need none", item.path)),
            _ => {}
        }
        if item.is_async && !item.docs.contains("ancel safety") {
            missing.push(format!("{}: expected `Cancel safety:` and what a drop does", item.path));
        }
        if !excepted && blocks(&item.docs).iter().any(|block| !block.runs && block.is_rust) {
            missing.push(format!("{}: has an example that is not run", item.path));
        }
    }
    missing
}

/// The features without a row in the front page's table.
pub(super) fn untold_features<'a>(front_page: &str, features: &[&'a str]) -> Vec<&'a str> {
    let told = |feature: &str| front_page.lines().any(|line| line.trim_start().starts_with(&format!("| `{feature}` |")));
    features.iter().copied().filter(|feature| *feature != "default" && !told(feature)).collect()
}

fn shown(item: &Documented) -> bool {
    if blocks(&item.docs).iter().any(|block| block.runs) {
        return true;
    }
    let (Some(owner), Some((_, name))) = (&item.owner, item.path.rsplit_once("::")) else { return false };
    blocks(owner).iter().any(|block| block.runs && names(&block.code, name))
}

/// Whether the code calls a method or an associated function of this name, hands it on, or writes one.
fn names(code: &str, name: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    [".", "::", "fn "].iter().any(|before| {
        let whole = format!("{before}{name}");
        code.match_indices(&whole).any(|(at, _)| code.get(at + whole.len()..).is_some_and(|rest| !goes_on(rest)))
    })
}

/// A block of code in a text.
#[derive(Debug, Default)]
struct Block {
    is_rust: bool,
    runs: bool,
    code: String,
}

fn blocks(text: &str) -> Vec<Block> {
    const RUST: [&str; 6] = ["rust", "ignore", "no_run", "should_panic", "compile_fail", "edition2024"];
    let (mut found, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for line in text.lines() {
        let Some(fence) = line.trim_start().strip_prefix("```") else {
            if let Some(block) = &mut open {
                block.code.push_str(line);
                block.code.push('\n');
            }
            continue;
        };
        if let Some(block) = open.take() {
            found.push(block);
            continue;
        }
        let words: Vec<&str> = fence.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        let is_rust = words.iter().all(|word| RUST.contains(word));
        let runs = is_rust && !words.iter().any(|word| ["ignore", "no_run", "compile_fail"].contains(word));
        open = Some(Block { is_rust, runs, code: String::new() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, docs: &str, owner: Option<&str>, is_async: bool, expected: &[&str]) {
        let item = Documented { path: path.to_owned(), docs: docs.to_owned(), owner: owner.map(str::to_owned), is_async };
        assert_eq!(missing(&[item]), expected);
    }

    #[test]
    fn an_example_is_ones_own_or_that_of_the_type_that_calls_it() {
        check("A", " ```\n f();\n ```", None, false, &[]);
        check("A::f", "says", Some("```\na.f(1);\n```"), false, &[]);
        check("A::f", "says", Some("```\nmap(A::f)\n```"), false, &[]);
        check("A::f", "says", Some("```\na.fg(1);\n```"), false, &["A::f: expected an example that runs"]);
        check("A::f", "says", Some("```\na.g(1);\n```"), false, &["A::f: expected an example that runs"]);
        check("A", "```text\nf()\n```", None, false, &["A: expected an example that runs"]);
    }

    #[test]
    fn an_example_that_is_not_run_is_none() {
        let expected = ["A: expected an example that runs", "A: has an example that is not run"];
        check("A", "```no_run\nf()\n```", None, false, &expected);
        check("A", "```ignore\nf()\n```", None, false, &expected);
        check(
            "Invalidator::connect",
            "```\nf()\n```",
            None,
            false,
            &["Invalidator::connect: has an example, and is on the list of those that need none"],
        );
    }

    #[test]
    fn an_async_function_says_what_a_drop_does() {
        check("f", "```\n```\nCancel safety: nothing.", None, true, &[]);
        check("f", "```\n```", None, true, &["f: expected `Cancel safety:` and what a drop does"]);
    }

    #[test]
    fn each_feature_has_a_row() {
        assert_eq!(untold_features("| `a` | yes |", &["a", "b", "default"]), ["b"]);
    }
}
