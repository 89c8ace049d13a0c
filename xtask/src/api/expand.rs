//! Expands `macro_rules!` that make items: what they make is public as well. It knows what this repository's macros use: fragments,
//! groups and repetitions; no metavariable expressions, no hygiene.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};

use crate::source::is_punct;

/// A macro: what it takes, and what it makes of that.
#[derive(Clone, Debug)]
pub(super) struct Macro {
    rules: Vec<(Vec<Pattern>, TokenStream)>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Token(String),
    Group(Delimiter, Vec<Pattern>),
    /// `$name:kind`
    Fragment(String, String),
    /// `$(..)` with what stands between two, and `*`, `+` or `?`.
    Repeat(Vec<Pattern>, Option<String>, char),
}

/// What a name of the macro stands for.
#[derive(Clone, Debug)]
enum Bound {
    One(TokenStream),
    Many(Vec<Bindings>),
}

type Bindings = BTreeMap<String, Bound>;

impl Macro {
    /// Reads the rules of a definition.
    pub(super) fn parse(rules: TokenStream) -> syn::Result<Self> {
        let tokens: Vec<TokenTree> = rules.into_iter().collect();
        let mut rules = Vec::new();
        for rule in tokens.split(|token| is_punct(token, ';')).filter(|rule| !rule.is_empty()) {
            // `(..) => {..}`
            let [TokenTree::Group(takes), _, _, TokenTree::Group(makes)] = rule else {
                return Err(syn::Error::new_spanned(rule.iter().cloned().collect::<TokenStream>(), "no rule of a macro"));
            };
            rules.push((patterns(takes.stream())?, makes.stream()));
        }
        Ok(Self { rules })
    }

    /// Returns what the first rule that fits makes of `input`.
    pub(super) fn expand(&self, input: &TokenStream) -> syn::Result<TokenStream> {
        let mut why = syn::Error::new_spanned(input, "a macro without rules");
        for (takes, makes) in &self.rules {
            let parser = |stream: ParseStream<'_>| matched(takes, stream);
            match parser.parse2(input.clone()) {
                Ok(bindings) => return transcribe(makes.clone(), &bindings),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

fn patterns(stream: TokenStream) -> syn::Result<Vec<Pattern>> {
    let (mut found, mut tokens) = (Vec::new(), stream.into_iter().peekable());
    while let Some(token) = tokens.next() {
        found.push(match token {
            TokenTree::Punct(dollar) if dollar.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Group(repeated)) => {
                    let (between, times) = repetition(&mut tokens);
                    Pattern::Repeat(patterns(repeated.stream())?, between, times)
                }
                Some(TokenTree::Ident(name)) => {
                    let (_colon, kind) = (tokens.next(), tokens.next());
                    Pattern::Fragment(name.to_string(), kind.map(|kind| kind.to_string()).unwrap_or_default())
                }
                _ => return Err(syn::Error::new(dollar.span(), "expected a name or a repetition")),
            },
            TokenTree::Group(group) => Pattern::Group(group.delimiter(), patterns(group.stream())?),
            token => Pattern::Token(token.to_string()),
        });
    }
    Ok(found)
}

/// What stands between two repetitions, and how often they may be.
fn repetition(tokens: &mut impl Iterator<Item = TokenTree>) -> (Option<String>, char) {
    let mut between = String::new();
    for token in tokens {
        match token.to_string().as_str() {
            "*" => return (Some(between).filter(|text| !text.is_empty()), '*'),
            "+" => return (Some(between).filter(|text| !text.is_empty()), '+'),
            "?" => return (None, '?'),
            text => between.push_str(text),
        }
    }
    (None, '*')
}

fn matched(patterns: &[Pattern], input: ParseStream<'_>) -> syn::Result<Bindings> {
    let mut bindings = Bindings::new();
    for pattern in patterns {
        match pattern {
            Pattern::Token(expected) => {
                let token: TokenTree = input.parse()?;
                if token.to_string() != *expected {
                    return Err(syn::Error::new(token.span(), format!("expected `{expected}`")));
                }
            }
            Pattern::Group(delimiter, inner) => {
                let group: Group = input.parse()?;
                if group.delimiter() != *delimiter {
                    return Err(syn::Error::new(group.span(), "another bracket was expected"));
                }
                let parser = |stream: ParseStream<'_>| matched(inner, stream);
                bindings.extend(parser.parse2(group.stream())?);
            }
            Pattern::Fragment(name, kind) => {
                bindings.insert(name.clone(), Bound::One(fragment(kind, input)?));
            }
            Pattern::Repeat(inner, between, times) => {
                let found = repeated(inner, between.as_deref(), *times, input);
                for name in names(inner) {
                    bindings.insert(name, Bound::Many(found.clone()));
                }
            }
        }
    }
    Ok(bindings)
}

fn repeated(inner: &[Pattern], between: Option<&str>, times: char, input: ParseStream<'_>) -> Vec<Bindings> {
    let mut found = Vec::new();
    while !input.is_empty() && (times != '?' || found.is_empty()) {
        let ahead = input.fork();
        if let (Some(between), false) = (between, found.is_empty()) {
            let mut text = String::new();
            while text.len() < between.len() {
                let Ok(token) = ahead.parse::<TokenTree>() else { return found };
                text.push_str(&token.to_string());
            }
            if text != between {
                return found;
            }
        }
        let Ok(bindings) = matched(inner, &ahead) else { return found };
        input.advance_to(&ahead);
        found.push(bindings);
    }
    found
}

fn fragment(kind: &str, input: ParseStream<'_>) -> syn::Result<TokenStream> {
    Ok(match kind {
        "ident" => input.call(syn::Ident::parse_any)?.to_token_stream(),
        "ty" => input.parse::<syn::Type>()?.to_token_stream(),
        "literal" => input.parse::<syn::Lit>()?.to_token_stream(),
        "expr" => input.parse::<syn::Expr>()?.to_token_stream(),
        "path" => input.parse::<syn::Path>()?.to_token_stream(),
        "vis" => input.parse::<syn::Visibility>()?.to_token_stream(),
        "meta" => input.parse::<syn::Meta>()?.to_token_stream(),
        "block" => input.parse::<syn::Block>()?.to_token_stream(),
        "item" => input.parse::<syn::Item>()?.to_token_stream(),
        "lifetime" => input.parse::<syn::Lifetime>()?.to_token_stream(),
        "tt" => input.parse::<TokenTree>()?.to_token_stream(),
        other => return Err(input.error(format!("the fragment `{other}` is not known here"))),
    })
}

/// The names that patterns bind.
fn names(patterns: &[Pattern]) -> Vec<String> {
    let mut found = Vec::new();
    for pattern in patterns {
        match pattern {
            Pattern::Token(_) => {}
            Pattern::Fragment(name, _) => found.push(name.clone()),
            Pattern::Group(_, inner) | Pattern::Repeat(inner, ..) => found.extend(names(inner)),
        }
    }
    found
}

fn transcribe(template: TokenStream, bindings: &Bindings) -> syn::Result<TokenStream> {
    let (mut made, mut tokens) = (TokenStream::new(), template.into_iter().peekable());
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(dollar) if dollar.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Ident(name)) => match bindings.get(&name.to_string()) {
                    Some(Bound::One(bound)) => made.extend(bound.clone()),
                    _ if name == "crate" => made.extend([TokenTree::from(name)]),
                    _ => return Err(syn::Error::new(name.span(), "is bound to nothing here")),
                },
                Some(TokenTree::Group(repeated)) => {
                    let (between, _) = repetition(&mut tokens);
                    let between: TokenStream = between.unwrap_or_default().parse()?;
                    for (at, each) in iterations(&repeated.stream(), bindings).into_iter().enumerate() {
                        if at > 0 {
                            made.extend(between.clone());
                        }
                        made.extend(transcribe(repeated.stream(), &each)?);
                    }
                }
                _ => return Err(syn::Error::new(dollar.span(), "expected a name or a repetition")),
            },
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), transcribe(group.stream(), bindings)?);
                inner.set_span(group.span());
                made.extend([TokenTree::from(inner)]);
            }
            token => made.extend([token]),
        }
    }
    Ok(made)
}

/// What the names of a repetition stand for each time.
fn iterations(template: &TokenStream, bindings: &Bindings) -> Vec<Bindings> {
    let used = used(template.clone());
    let many = used.iter().find_map(|name| match bindings.get(name) {
        Some(Bound::Many(many)) => Some(many.len()),
        _ => None,
    });
    (0..many.unwrap_or_default())
        .map(|at| {
            let mut each = bindings.clone();
            for name in &used {
                if let Some(Bound::Many(many)) = bindings.get(name)
                    && let Some(bound) = many.get(at).and_then(|inner| inner.get(name))
                {
                    each.insert(name.clone(), bound.clone());
                }
            }
            each
        })
        .collect()
}

/// The names after a `$`, however deep.
fn used(template: TokenStream) -> Vec<String> {
    let (mut found, mut after_dollar) = (Vec::new(), false);
    for token in template {
        match &token {
            TokenTree::Ident(name) if after_dollar => found.push(name.to_string()),
            TokenTree::Group(group) => found.extend(used(group.stream())),
            _ => {}
        }
        after_dollar = is_punct(&token, '$');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &str, input: &str, expected: &str) {
        let made = Macro::parse(rules.parse().unwrap()).unwrap().expand(&input.parse().unwrap()).unwrap();
        let expected: TokenStream = expected.parse().unwrap();
        assert_eq!(made.to_string(), expected.to_string());
    }

    #[test]
    fn fragments_and_repetitions_are_put_where_they_are_named() {
        check("($($t:ty),*) => {$(impl A for $t {})*};", "u8, [u8]", "impl A for u8 {} impl A for [u8] {}");
        check("($($a:ident => $b:literal;)+) => { f($($a, $b),*) }", "x => 1; y => 2;", "f(x, 1, y, 2)");
        check("($(($a:ident $(, $b:ident)*))*) => {$(g($a, $($b,)*))*}", "(A) (B, C)", "g(A,) g(B, C,)");
        check(
            "($($(#[doc = $doc:literal])+ $a:ident;)*) => {$($(#[doc = $doc])+ pub $a: u64,)*}",
            "#[doc = \"x\"] a;",
            "#[doc = \"x\"] pub a: u64,",
        );
    }

    #[test]
    fn the_first_rule_that_fits_is_taken() {
        check("(a) => { one }; ($x:ident) => { two($x) };", "b", "two(b)");
        check("(a) => { one }; ($x:ident) => { two($x) };", "a", "one");
    }

    #[test]
    fn what_fits_no_rule_is_an_error() {
        assert!(Macro::parse("(a) => { one }".parse().unwrap()).unwrap().expand(&"b".parse().unwrap()).is_err());
    }
}
