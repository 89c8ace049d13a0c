//! Source files as tokens, with what is compiled only for tests set apart. What to look for in them is the caller's.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::run::Outcome;

/// One source file of a crate.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its path below the crate's `src`, with `/` between folders.
    pub(crate) path: String,
    pub(crate) tokens: TokenStream,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Outcome<Self> {
        let tokens = text.parse().map_err(|error| format!("{path} is not Rust: {error}"))?;
        Ok(Self { path: path.to_owned(), tokens })
    }

    /// The module that the file is: its names from the crate's root down.
    pub(crate) fn module(&self) -> Vec<String> {
        let path = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    }

    /// The lines that are compiled only for tests.
    pub(crate) fn test_lines(&self) -> Vec<RangeInclusive<usize>> {
        let mut found = Vec::new();
        visit_tests(self.tokens.clone(), &mut |item| {
            if let (Some(first), Some(last)) = (item.first(), item.last()) {
                found.push(first.span().start().line..=last.span().end().line);
            }
        });
        found
    }

    /// The modules declared here, in files of their own, that are compiled only for tests.
    pub(crate) fn test_modules(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        visit_tests(self.tokens.clone(), &mut |item| {
            for words in item.windows(3) {
                let [keyword, name, end] = words else { continue };
                if is_ident(keyword, "mod") && is_punct(end, ';') {
                    let mut module = self.module();
                    module.push(name.to_string());
                    found.push(module);
                }
            }
        });
        found
    }
}

/// Reads the crate's sources, without the files that are compiled only for tests.
pub(crate) fn read(src: &Path) -> Outcome<Vec<Source>> {
    let mut files = Vec::new();
    collect(src, &mut files)?;
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let path = file.strip_prefix(src).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        sources.push(Source::parse(&path, &text)?);
    }
    Ok(without_test_files(sources))
}

/// Leaves out the files of test modules, and what lies below them.
pub(crate) fn without_test_files(mut sources: Vec<Source>) -> Vec<Source> {
    let tests: Vec<Vec<String>> = sources.iter().flat_map(Source::test_modules).collect();
    sources.retain(|source| !tests.iter().any(|test| source.module().starts_with(test)));
    sources
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// One level of tokens, not what its groups hold.
#[derive(Debug, Default)]
pub(crate) struct Level {
    /// What every build compiles.
    pub(crate) kept: Vec<TokenTree>,
    /// What only tests compile: one item each, its attribute included.
    pub(crate) tests: Vec<Vec<TokenTree>>,
}

impl Level {
    pub(crate) fn of(stream: TokenStream) -> Self {
        let mut level = Self::default();
        let mut rest = stream.into_iter().peekable();
        while let Some(token) = rest.next() {
            if !is_punct(&token, '#') {
                level.kept.push(token);
                continue;
            }
            let inner = rest.next_if(|next| is_punct(next, '!'));
            let Some(attribute) = rest.next() else { break };
            if !is_cfg_test(&attribute) {
                level.kept.extend([Some(token), inner, Some(attribute)].into_iter().flatten());
                continue;
            }
            let mut item = vec![token];
            item.extend(inner.clone());
            item.push(attribute);
            if inner.is_some() {
                item.append(&mut level.kept);
                item.extend(rest.by_ref());
            } else {
                item.extend(item_of(&mut rest));
            }
            level.tests.push(item);
        }
        level
    }
}

/// Takes one item, field or statement: to its semicolon or its closing brace, or, if it is no item, its comma.
fn item_of(rest: &mut impl Iterator<Item = TokenTree>) -> Vec<TokenTree> {
    /// Their braces are inside the item, not its end.
    const TO_SEMICOLON: [&str; 5] = ["use", "const", "static", "let", "type"];
    const TO_BRACE: [&str; 9] = ["mod", "fn", "impl", "struct", "enum", "union", "trait", "extern", "macro_rules"];
    let (mut item, mut keyword) = (Vec::new(), None);
    for token in rest {
        if keyword.is_none() {
            let text = token.to_string();
            keyword = TO_SEMICOLON.iter().chain(&TO_BRACE).find(|keyword| **keyword == text).copied();
        } else if keyword == Some("const") && is_ident(&token, "fn") {
            keyword = Some("fn");
        }
        let braces = matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        let ends = is_punct(&token, ';')
            || (braces && !keyword.is_some_and(|keyword| TO_SEMICOLON.contains(&keyword)))
            || (is_punct(&token, ',') && keyword.is_none());
        item.push(token);
        if ends {
            break;
        }
    }
    item
}

fn visit_tests(stream: TokenStream, found: &mut impl FnMut(&[TokenTree])) {
    let level = Level::of(stream);
    for item in &level.tests {
        found(item);
    }
    for token in level.kept {
        if let TokenTree::Group(group) = token {
            visit_tests(group.stream(), found);
        }
    }
}

/// Whether an attribute's brackets hold `cfg(test)`, or `cfg(all(..))` with `test` among the rest.
fn is_cfg_test(attribute: &TokenTree) -> bool {
    let TokenTree::Group(brackets) = attribute else { return false };
    let mut tokens = brackets.stream().into_iter();
    let cfg = tokens.next().is_some_and(|token| is_ident(&token, "cfg"));
    cfg && matches!(tokens.next(), Some(TokenTree::Group(condition)) if needs_test(condition.stream()))
}

fn needs_test(condition: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    tokens.split(|token| is_punct(token, ',')).any(|part| match part {
        [one] => is_ident(one, "test"),
        [all, TokenTree::Group(parts)] => is_ident(all, "all") && needs_test(parts.stream()),
        _ => false,
    })
}

pub(crate) fn is_ident(token: &TokenTree, text: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if *ident == text)
}

pub(crate) fn is_punct(token: &TokenTree, text: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_lines(text: &str, expected: &[RangeInclusive<usize>]) {
        assert_eq!(Source::parse("a.rs", text).unwrap().test_lines(), expected, "{text}");
    }

    #[test]
    fn an_item_for_tests_ends_where_it_ends() {
        check_lines("#[cfg(test)]\nmod t {\n}\nfn f() {}", &[1..=3]);
        check_lines("#[cfg(test)]\nuse a::{b, c};\nfn f() {}", &[1..=2]);
        check_lines("#[cfg(test)]\n#[expect(x)]\nconst A: B = B {\n};\nfn f() {}", &[1..=4]);
        check_lines("#[cfg(test)]\npub(crate) const fn f<A, B>() {\n}\nfn g() {}", &[1..=3]);
        check_lines("#[cfg(test)]\nimpl<A, B> C for D<A, B> {\n}\nfn g() {}", &[1..=3]);
        check_lines("struct S {\n#[cfg(test)]\na: u8,\nb: u8 }", &[2..=3]);
        check_lines("#[cfg(all(test, unix))]\nmod t;\nfn f() {}", &[1..=2]);
        check_lines("#![cfg(test)]\nfn f() {}", &[1..=2]);
    }

    #[test]
    fn what_other_builds_compile_too_is_not_for_tests() {
        check_lines("#[cfg(any(test, unix))]\nmod t {}\n#[cfg(not(test))]\nfn f() {}\n#[test]\nfn g() {}", &[]);
    }

    #[test]
    fn the_files_of_a_test_module_are_left_out() {
        let parse = |path: &str, text: &str| Source::parse(path, text).unwrap();
        let sources = vec![
            parse("lib.rs", "mod a;"),
            parse("a/mod.rs", "#[cfg(test)] mod tests; mod real;"),
            parse("a/tests.rs", ""),
            parse("a/tests/deeper.rs", ""),
            parse("a/real.rs", ""),
        ];
        let left: Vec<String> = without_test_files(sources).into_iter().map(|source| source.path).collect();
        assert_eq!(left, ["lib.rs", "a/mod.rs", "a/real.rs"]);
    }
}
