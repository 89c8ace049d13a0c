//! The direction of imports: which module of the crate may name which. Tests may name anything.

use proc_macro2::{TokenStream, TokenTree};

use crate::run::Outcome;
use crate::source::{Level, Source, is_ident, is_punct, read};
use crate::workspace::Workspace;

/// What each top-level module may name besides itself. A module that is not here has no place yet: give it one.
/// The crate's root stands above them all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("fuzz", &["wire"]),
    // What the attributes expand into stands above everything they could be written with by hand.
    ("attribute", &["installed", "cache", "rule", "observe", "key_part", "error"]),
    ("testing", &["installed", "cache", "l2", "rule", "observe", "clock", "sync"]),
    ("installed", &["cache"]),
    (
        "invalidator",
        &[
            "cache",
            "parts",
            "all",
            "coherence",
            "l2",
            "tasks",
            "config",
            "wire",
            "rule",
            "observe",
            "clock",
            "error",
            "sync",
            "connector",
        ],
    ),
    (
        "cache",
        &[
            "all",
            "parts",
            "bulkhead",
            "connector",
            "coherence",
            "flight",
            "lease",
            "l1",
            "l2",
            "view",
            "progress",
            "proofs",
            "tasks",
            "config",
            "wire",
            "rule",
            "observe",
            "key",
            "clock",
            "error",
            "sync",
            "unhashed",
            "pause",
        ],
    ),
    ("parts", &["wire", "key", "error"]),
    ("redis", &["connector", "l2", "wire", "rule", "key", "clock", "error", "sync"]),
    // An invalidation that is applied drops entries and detaches flights; neither of them knows of invalidations.
    (
        "coherence",
        &[
            "flight", "lease", "l1", "l2", "view", "progress", "proofs", "tasks", "wire", "rule", "observe", "key", "clock",
            "error", "sync", "unhashed", "pause",
        ],
    ),
    ("flight", &["l1", "view", "rule", "key", "error", "sync", "unhashed"]),
    ("lease", &["error", "l2", "rule"]),
    ("l1", &["view", "proofs", "config", "rule", "observe", "key", "clock", "unhashed"]),
    ("l2", &["all", "tasks", "wire", "rule", "observe", "key", "clock", "error"]),
    ("view", &["progress", "proofs", "wire", "rule", "key", "clock", "sync"]),
    ("progress", &["rule"]),
    ("proofs", &["clock"]),
    ("connector", &[]),
    ("config", &["bulkhead", "connector", "wire", "rule", "error"]),
    ("bulkhead", &["error", "sync"]),
    ("wire", &["rule", "key", "error"]),
    ("rule", &["key", "clock", "error"]),
    ("observe", &["rule"]),
    ("all", &[]),
    ("tasks", &[]),
    ("key", &["error"]),
    ("key_part", &[]),
    ("clock", &[]),
    ("error", &[]),
    ("sync", &[]),
    ("pause", &["sync"]),
    ("unhashed", &[]),
];

/// What one file may name beyond its module.
const FILE_MAY_USE: &[(&str, &[&str])] = &[("cache/over.rs", &["redis"])];

/// Words that only one place may say: the place, the words, and whether they count only as the name of a crate.
const WORDS: &[(&str, &[&str], Counts)] =
    &[("clock.rs", &["Instant", "SystemTime"], Counts::Anywhere), ("redis/", &["redis"], Counts::AsCrate)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Anywhere,
    AsCrate,
}

/// Checks every file of the crate.
pub(crate) fn imports() -> Outcome {
    let sources = read(&Workspace::load()?.member("cachetier")?.folder()?.join("src"))?;
    let faults: Vec<String> = sources.iter().flat_map(check).collect();
    match (sources.len(), faults.as_slice()) {
        (0, _) => Err("expected source files, found none".to_owned()),
        (files, []) => {
            eprintln!("{files} files: every import points down");
            Ok(())
        }
        (_, faults) => Err(format!("{} imports do not point down:\n{}", faults.len(), faults.join("\n"))),
    }
}

/// Returns a line for each name that the file may not say.
fn check(source: &Source) -> Vec<String> {
    let mut names = Names { source, faults: Vec::new() };
    names.walk(source.tokens.clone(), &source.module());
    names.faults
}

struct Names<'a> {
    source: &'a Source,
    faults: Vec<String>,
}

impl Names<'_> {
    /// Looks at every path and word of a stream that stands in `module`.
    fn walk(&mut self, stream: TokenStream, module: &[String]) {
        let tokens = Level::of(stream).kept;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let rest = tokens.get(at + 1..).unwrap_or_default();
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            at += 1;
            match token {
                TokenTree::Ident(word) => {
                    let word = word.to_string();
                    // Inside a path these words have other places before them, which were followed from its start.
                    let starts = !before.is_some_and(|before| is_punct(before, ':')) || word == "crate";
                    let root = match word.as_str() {
                        "crate" => Some(Vec::new()),
                        "super" => Some(module.split_last().map(|(_, above)| above.to_vec()).unwrap_or_default()),
                        "self" => Some(module.to_vec()),
                        _ => None,
                    };
                    if let (Some(root), true, Some(path)) = (root, starts, after_colons(rest)) {
                        at += rest.len() - self.follow(path, root).len();
                    } else if let (true, [TokenTree::Ident(name), TokenTree::Group(body), ..]) = (word == "mod", rest) {
                        let inner: Vec<String> = module.iter().cloned().chain([name.to_string()]).collect();
                        self.walk(body.stream(), &inner);
                        at += 2;
                    } else {
                        self.word(token, before, rest);
                    }
                }
                TokenTree::Group(group) => self.walk(group.stream(), module),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// Follows a path that has come to `at`, through every branch of its braces, and returns the tokens behind it.
    fn follow<'t>(&mut self, tokens: &'t [TokenTree], mut at: Vec<String>) -> &'t [TokenTree] {
        let Some((first, mut rest)) = tokens.split_first() else { return tokens };
        match first {
            TokenTree::Group(branches) => {
                let branches: Vec<TokenTree> = branches.stream().into_iter().collect();
                for branch in branches.split(|token| is_punct(token, ',')) {
                    self.follow(branch, at.clone());
                }
                return rest;
            }
            TokenTree::Ident(word) if *word == "super" => drop(at.pop()),
            TokenTree::Ident(word) if *word == "self" => {}
            other => at.push(other.to_string()),
        }
        // Beyond the top-level module only another `super` or a branch could lead elsewhere.
        if let Some(path) = after_colons(rest) {
            rest = self.follow(path, at);
        } else if let Some(top) = at.first() {
            self.named(top, first);
        } else {
            self.named("*", first);
        }
        rest
    }

    /// A path of this file leads into the top-level module `top`.
    fn named(&mut self, top: &str, token: &TokenTree) {
        let Some(own) = self.source.module().first().cloned() else { return };
        let Some((_, may_use)) = MAY_USE.iter().find(|(module, _)| *module == own) else {
            return self.fault(token, &format!("`{own}` has no place in the table of xtask/src/imports.rs"));
        };
        let more = FILE_MAY_USE.iter().filter(|(file, _)| *file == self.source.path).flat_map(|(_, more)| *more);
        if top != own && !may_use.iter().chain(more).any(|allowed| *allowed == top) {
            self.fault(token, &format!("`{own}` may not use `{top}`"));
        }
    }

    /// A word that belongs to no path of this crate.
    fn word(&mut self, token: &TokenTree, before: Option<&TokenTree>, rest: &[TokenTree]) {
        for (place, words, counts) in WORDS {
            let said = words.iter().any(|word| is_ident(token, word));
            let here = self.source.path == *place || (place.ends_with('/') && self.source.path.starts_with(place));
            // In the root this is the name of the module.
            let excused = *counts == Counts::AsCrate && (self.source.module().is_empty() || !is_crate_name(before, rest));
            if said && !here && !excused {
                self.fault(token, &format!("only {place} may name `{token}`"));
            }
        }
    }

    fn fault(&mut self, token: &TokenTree, what: &str) {
        self.faults.push(format!("  {}:{}: {what}", self.source.path, token.span().start().line));
    }
}

/// Whether an identifier stands where a path or an import begins.
fn is_crate_name(before: Option<&TokenTree>, rest: &[TokenTree]) -> bool {
    let imported = before.is_some_and(|before| is_ident(before, "use") || is_ident(before, "crate"));
    // `::redis::..` begins a path too, so the colons before it say nothing unless a name stands before them. That path would have
    // to begin with a name outside this crate, and none of those has a `redis` worth an exception.
    imported || after_colons(rest).is_some()
}

/// What follows a `::`.
fn after_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [one, two, rest @ ..] if is_punct(one, ':') && is_punct(two, ':') => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_file(path: &str, text: &str, expected: &[&str]) {
        let faults = check(&Source::parse(path, text).unwrap());
        let faults: Vec<&str> = faults.iter().map(|fault| fault.trim()).collect();
        assert_eq!(faults, expected, "{path}: {text}");
    }

    #[test]
    fn an_import_that_points_down_is_fine() {
        check_file("cache/read.rs", "use crate::l1::L1; use super::builder::B; use crate::{rule::seq::Seq, key};", &[]);
        check_file("coherence/follower.rs", "use crate::l1::L1; use crate::flight::Flights;", &[]);
        check_file("wire/mod.rs", "use crate::rule::seq::Seq; mod inner { use super::envelope; use self::x; }", &[]);
        check_file("l2/memory.rs", "pub(crate) struct A; pub(in crate::l2) struct B;", &[]);
    }

    #[test]
    fn an_import_that_points_up_or_aside_is_a_fault() {
        check_file("rule/seq.rs", "use crate::wire::message::Targets;", &["rule/seq.rs:1: `rule` may not use `wire`"]);
        check_file("l1.rs", "\nuse crate::coherence::F;", &["l1.rs:2: `l1` may not use `coherence`"]);
        check_file("flight.rs", "fn f() { crate::l2::g(); }", &["flight.rs:1: `flight` may not use `l2`"]);
        check_file("key.rs", "use crate::cache::C;", &["key.rs:1: `key` may not use `cache`"]);
        check_file("l2/mod.rs", "use crate::coherence::F;", &["l2/mod.rs:1: `l2` may not use `coherence`"]);
    }

    #[test]
    fn every_branch_of_an_import_is_followed() {
        let (l1, cache) = ("rule/a.rs:1: `rule` may not use `l1`", "rule/a.rs:1: `rule` may not use `cache`");
        check_file("rule/a.rs", "use crate::{l1, cache};", &[l1, cache]);
        check_file("rule/a.rs", "use crate::{key::{K, H}, l1, cache::{read, write::W}};", &[l1, cache, cache]);
    }

    #[test]
    fn super_is_followed_out_of_the_module() {
        check_file("rule/seq.rs", "use super::super::l1::L1;", &["rule/seq.rs:1: `rule` may not use `l1`"]);
        check_file("l1.rs", "use super::{key::K, l2::S};", &["l1.rs:1: `l1` may not use `l2`"]);
        check_file("l1.rs", "mod a { use super::super::cache; }", &["l1.rs:1: `l1` may not use `cache`"]);
        check_file("l1.rs", "use super::*;", &["l1.rs:1: `l1` may not use `*`"]);
    }

    #[test]
    fn paths_inside_macros_and_types_count() {
        check_file("rule/a.rs", "fn f() { g!(a, crate::l1::x); }", &["rule/a.rs:1: `rule` may not use `l1`"]);
        check_file(
            "rule/a.rs",
            "type A = Vec<crate::l1::B<crate::l2::C>>;",
            &["rule/a.rs:1: `rule` may not use `l1`", "rule/a.rs:1: `rule` may not use `l2`"],
        );
    }

    #[test]
    fn tests_comments_and_texts_do_not_count() {
        check_file("rule/a.rs", "#[cfg(test)] mod tests { use crate::cache::C; use std::time::Instant; }", &[]);
        check_file("rule/a.rs", "//! See crate::cache.\n/* crate::cache */ const A: &str = \"crate::cache redis:: Instant\";", &[]);
    }

    #[test]
    fn redis_is_used_by_one_file_alone() {
        check_file("cache/over.rs", "use crate::redis::Store;", &[]);
        check_file("cache/read.rs", "use crate::redis::Store;", &["cache/read.rs:1: `cache` may not use `redis`"]);
        check_file("redis/store.rs", "use crate::l2::Store; use crate::l2::lane::Lane;", &[]);
        check_file("redis/store.rs", "use crate::cache::C;", &["redis/store.rs:1: `redis` may not use `cache`"]);
    }

    #[test]
    fn the_redis_crate_is_named_below_redis_alone() {
        check_file("redis/store.rs", "use redis::Client; fn f() { redis::cmd(\"GET\"); }", &[]);
        check_file("l2/mod.rs", "use redis::Client;", &["l2/mod.rs:1: only redis/ may name `redis`"]);
        check_file("l2/mod.rs", "fn f(e: ::redis::RedisError) {}", &["l2/mod.rs:1: only redis/ may name `redis`"]);
        check_file("l2/mod.rs", "extern crate redis;", &["l2/mod.rs:1: only redis/ may name `redis`"]);
        check_file("cache/builder.rs", "fn redis(self, url: &str) { self.redis = url; self.redis(url) }", &[]);
        check_file("lib.rs", "mod redis; pub use redis::X;", &[]);
    }

    #[test]
    fn the_time_is_named_in_the_clock_alone() {
        check_file("clock.rs", "use std::time::Instant;", &[]);
        check_file("l1.rs", "use std::time::{Duration, Instant};", &["l1.rs:1: only clock.rs may name `Instant`"]);
        check_file("lib.rs", "type A = std::time::SystemTime;", &["lib.rs:1: only clock.rs may name `SystemTime`"]);
    }

    #[test]
    fn a_module_without_a_place_is_a_fault() {
        let expected = ["helpers.rs:1: `helpers` has no place in the table of xtask/src/imports.rs"];
        check_file("helpers.rs", "use crate::key::K;", &expected);
        check_file("rule/a.rs", "use crate::helpers::K;", &["rule/a.rs:1: `rule` may not use `helpers`"]);
    }

    #[test]
    fn the_table_has_no_circle() {
        let mut left: Vec<_> = MAY_USE.to_vec();
        while !left.is_empty() {
            let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
            let before = left.len();
            left.retain(|(_, may_use)| may_use.iter().any(|used| names.contains(used)));
            assert!(left.len() < before, "a circle among {names:?}");
        }
    }
}
