//! What the attributes are told in their parentheses, read and checked as far as it can be without the function.

use std::time::Duration;

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, Lit, LitInt, LitStr, Path, Token, parenthesized, parse_quote, parse_quote_spanned};

use crate::duration;
use crate::template::Template;

/// A length of time: written out, or an expression.
#[derive(Clone)]
pub(crate) enum Time {
    Known(Duration),
    Told(Box<Expr>),
}

/// A tag or a key in a list: a template, or an expression that is text.
#[derive(Clone)]
pub(crate) enum Text {
    Template(Template),
    Told(Box<Expr>),
}

/// How long a value lives.
#[derive(Clone)]
pub(crate) enum Life {
    Times { ttl: Time, local: Option<Time>, negative: Option<Time>, stale: Option<Time>, retry: Option<Time> },
    Policy(Box<Expr>),
}

/// What is asked about the value once it is there: functions of it.
#[derive(Clone, Default)]
pub(crate) struct ByValue {
    pub(crate) cache_if: Option<Expr>,
    pub(crate) ttl_with: Option<Expr>,
    pub(crate) tags_with: Option<Expr>,
}

/// What stands for the call in the key.
#[derive(Clone)]
pub(crate) enum KeyForm {
    /// A template.
    Template(Template),
    /// The function's name and every argument but these.
    Arguments { skip: Vec<Ident> },
}

impl KeyForm {
    /// The expressions in it.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Expr> {
        match self {
            Self::Template(template) => Some(template.values()),
            Self::Arguments { .. } => None,
        }
        .into_iter()
        .flatten()
    }
}

/// What the functions beside the function are called.
#[derive(Clone)]
pub(crate) enum Companions {
    AsFunction,
    Named(Ident),
    None,
}

/// Which cache is used, and how its crate is called.
#[derive(Clone)]
pub(crate) struct Where {
    pub(crate) cache: Option<Box<Expr>>,
    pub(crate) krate: Path,
}

/// The options of `#[cached]`.
#[derive(Clone)]
pub(crate) struct Cached {
    pub(crate) key: KeyForm,
    pub(crate) group: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) life: Life,
    pub(crate) tags: Vec<Text>,
    pub(crate) by_value: ByValue,
    pub(crate) share_error: Option<Path>,
    /// Where it says that the body may outlive its call.
    pub(crate) detached: Option<Span>,
    pub(crate) companions: Companions,
    pub(crate) place: Where,
}

/// The options of `#[invalidates]`.
#[derive(Clone)]
pub(crate) struct Invalidates {
    pub(crate) keys: Vec<Text>,
    pub(crate) tags: Vec<Text>,
    pub(crate) prefixes: Vec<Text>,
    pub(crate) place: Where,
}

/// Everything that either attribute may be told, as it was written.
#[derive(Default)]
struct Said {
    seen: Vec<(String, Span)>,
    key: Option<LitStr>,
    keys: Vec<Text>,
    ttl: Option<Time>,
    l1_ttl: Option<Time>,
    negative_ttl: Option<Time>,
    stale_for: Option<Time>,
    stale_if_error: Option<Time>,
    tags: Vec<Text>,
    prefix: Option<Text>,
    skip: Vec<Ident>,
    by_value: ByValue,
    policy: Option<Box<Expr>>,
    cache: Option<Box<Expr>>,
    group: Option<LitStr>,
    version: Option<LitInt>,
    share_error: Option<Path>,
    companions: Option<Ident>,
    krate: Option<Path>,
}

const CACHED: &[&str] = &[
    "key",
    "ttl",
    "l1_ttl",
    "negative_ttl",
    "stale_for",
    "stale_if_error",
    "tags",
    "cache_if",
    "ttl_with",
    "tags_with",
    "skip",
    "policy",
    "cache",
    "group",
    "version",
    "share_error",
    "detached",
    "companions",
    "crate",
];
const INVALIDATES: &[&str] = &["key", "keys", "tags", "prefix", "cache", "crate"];

impl Said {
    fn parse(input: ParseStream<'_>, known: &[&str], attribute: &str) -> Result<Self, Error> {
        let mut said = Self::default();
        while !input.is_empty() {
            let name = input
                .call(Ident::parse_any)
                .map_err(|error| Error::new(error.span(), format!("expected an option: {}", list(known))))?;
            let text = name.to_string();
            if !known.contains(&text.as_str()) {
                return Err(Error::new(
                    name.span(),
                    format!("`{text}` is no option of `#[{attribute}]`; there are {}", list(known)),
                ));
            }
            if said.seen.iter().any(|(seen, _)| *seen == text) {
                return Err(Error::new(name.span(), format!("`{text}` is given twice; one of the two must go")));
            }
            said.seen.push((text.clone(), name.span()));
            said.option(&text, name.span(), input)?;
            if !input.is_empty() && input.parse::<Option<Token![,]>>()?.is_none() {
                return Err(input.error(format!("expected a `,` behind `{text}`")));
            }
        }
        Ok(said)
    }

    fn option(&mut self, name: &str, span: Span, input: ParseStream<'_>) -> Result<(), Error> {
        if name == "skip" {
            self.skip = skipped(span, input)?;
            return Ok(());
        }
        if name == "detached" {
            // Seen.
            return Ok(());
        }
        if input.parse::<Option<Token![=]>>()?.is_none() {
            return Err(Error::new(span, format!("`{name}` has no value; write `{}`", example(name))));
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Err(Error::new(span, format!("`{name}` has no value; write `{}`", example(name))));
        }
        match name {
            "key" => self.key = Some(text(name, input)?),
            "keys" => self.keys = texts(name, input)?,
            "ttl" => self.ttl = Some(time(name, input)?),
            "l1_ttl" => self.l1_ttl = Some(time(name, input)?),
            "negative_ttl" => self.negative_ttl = Some(time(name, input)?),
            "stale_for" => self.stale_for = Some(time(name, input)?),
            "stale_if_error" => self.stale_if_error = Some(time(name, input)?),
            "tags" => self.tags = texts(name, input)?,
            "cache_if" => self.by_value.cache_if = Some(expression(input)?),
            "ttl_with" => self.by_value.ttl_with = Some(expression(input)?),
            "tags_with" => self.by_value.tags_with = Some(expression(input)?),
            "prefix" => self.prefix = Some(Text::of(expression(input)?)?),
            "policy" => self.policy = Some(Box::new(expression(input)?)),
            "cache" => self.cache = Some(Box::new(expression(input)?)),
            "group" => self.group = Some(text(name, input)?),
            "version" => self.version = Some(input.parse().map_err(|error: Error| wrong(name, &error))?),
            "share_error" => self.share_error = Some(input.parse().map_err(|error: Error| wrong(name, &error))?),
            "companions" => self.companions = Some(input.parse().map_err(|error: Error| wrong(name, &error))?),
            _ => self.krate = Some(input.call(Path::parse_mod_style).map_err(|error| wrong(name, &error))?),
        }
        Ok(())
    }

    /// Where an option was given.
    fn span(&self, name: &str) -> Option<Span> {
        self.seen.iter().find(|(seen, _)| seen == name).map(|(_, span)| *span)
    }

    fn place(&mut self) -> Where {
        let krate = self.krate.take().unwrap_or_else(|| parse_quote!(::cachetier));
        Where { cache: self.cache.take(), krate }
    }
}

impl Parse for Cached {
    fn parse(input: ParseStream<'_>) -> Result<Self, Error> {
        let mut said = Said::parse(input, CACHED, "cached")?;
        let life = life(&mut said)?;
        let key = match &said.key {
            Some(_) if said.span("skip").is_some() => {
                let span = said.span("skip").unwrap_or_else(Span::call_site);
                return Err(Error::new(span, "`skip` is for keys made of all arguments; `key = \"..\"` names those that it has"));
            }
            Some(key) => KeyForm::Template(Template::parse(key)?),
            None => KeyForm::Arguments { skip: std::mem::take(&mut said.skip) },
        };
        let group = said.group.take().map(|group| checked_group(&group)).transpose()?;
        let companions = match said.companions.take() {
            None => Companions::AsFunction,
            Some(none) if none == "none" => Companions::None,
            Some(name) => Companions::Named(name),
        };
        let place = said.place();
        let krate = &place.krate;
        let share_error = said.share_error.take().map(|path| match path.get_ident() {
            Some(none) if none == "none" => parse_quote_spanned!(none.span()=> #krate::attribute::ByLeaderAlone),
            _ => path,
        });
        Ok(Self {
            key,
            group,
            version: said.version.take().map(|version| version.base10_digits().to_owned()),
            life,
            tags: std::mem::take(&mut said.tags),
            by_value: std::mem::take(&mut said.by_value),
            share_error,
            detached: said.span("detached"),
            companions,
            place,
        })
    }
}

impl Parse for Invalidates {
    fn parse(input: ParseStream<'_>) -> Result<Self, Error> {
        let mut said = Said::parse(input, INVALIDATES, "invalidates")?;
        let mut keys = std::mem::take(&mut said.keys);
        if let Some(key) = &said.key {
            keys.push(Text::Template(Template::parse(key)?));
        }
        let (tags, prefixes) = (std::mem::take(&mut said.tags), said.prefix.take().into_iter().collect::<Vec<_>>());
        if keys.is_empty() && tags.is_empty() && prefixes.is_empty() {
            return Err(Error::new(
                Span::call_site(),
                "nothing to invalidate is named; write `key = \"user:{id}\"`, `keys = [..]`, `tags = [..]` or `prefix = \"user:\"`",
            ));
        }
        Ok(Self { keys, tags, prefixes, place: said.place() })
    }
}

impl Cached {
    /// Reads what stands in the parentheses of `#[cached(..)]`.
    pub(crate) fn read(arguments: proc_macro2::TokenStream) -> Result<Self, Error> {
        Self::parse.parse2(arguments)
    }
}

impl Invalidates {
    /// Reads what stands in the parentheses of `#[invalidates(..)]`.
    pub(crate) fn read(arguments: proc_macro2::TokenStream) -> Result<Self, Error> {
        Self::parse.parse2(arguments)
    }
}

impl Text {
    fn of(expression: Expr) -> Result<Self, Error> {
        match &expression {
            Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Ok(Self::Template(Template::parse(literal)?)),
            Expr::Lit(literal) => Err(Error::new_spanned(literal, "expected text, such as \"org:{org}\"")),
            _ => Ok(Self::Told(Box::new(expression))),
        }
    }

    /// The expressions in it.
    pub(crate) fn values(&self) -> Box<dyn Iterator<Item = &Expr> + '_> {
        match self {
            Self::Template(template) => Box::new(template.values()),
            Self::Told(value) => Box::new(std::iter::once(&**value)),
        }
    }
}

/// What says how long a value lives beside its `ttl`.
const OTHER_TIMES: &[&str] = &["l1_ttl", "negative_ttl", "stale_for", "stale_if_error"];

/// The life: by times or by a policy, and by one of them.
fn life(said: &mut Said) -> Result<Life, Error> {
    let Some(policy) = said.policy.take() else {
        let Some(ttl) = said.ttl.take() else {
            let span = OTHER_TIMES.iter().find_map(|time| said.span(time)).unwrap_or_else(Span::call_site);
            return Err(Error::new(span, "how long a value lives is not said; write `ttl = \"5m\"` or `policy = ..`"));
        };
        let (stale, retry) = (said.stale_for.take(), said.stale_if_error.take());
        if let Some(span) = said.span("stale_if_error").filter(|_| stale.is_none()) {
            return Err(Error::new(span, "nothing is kept that could be served; write `stale_for = \"1h\"` as well"));
        }
        return Ok(Life::Times { ttl, local: said.l1_ttl.take(), negative: said.negative_ttl.take(), stale, retry });
    };
    for time in ["ttl"].iter().chain(OTHER_TIMES) {
        if let Some(span) = said.span(time) {
            return Err(Error::new(span, format!("`{time}` and `policy` both say how long a value lives; put it into the policy")));
        }
    }
    Ok(Life::Policy(policy))
}

fn checked_group(group: &LitStr) -> Result<String, Error> {
    let text = group.value();
    if text.is_empty() || text.contains(['{', '}']) || text.ends_with(':') {
        return Err(Error::new(
            group.span(),
            "a group is a name, such as \"user\": not empty, without braces and without a `:` at its end",
        ));
    }
    Ok(text)
}

fn skipped(span: Span, input: ParseStream<'_>) -> Result<Vec<Ident>, Error> {
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(span, "`skip` names arguments in parentheses; write `skip(db)`"));
    }
    let inside;
    parenthesized!(inside in input);
    let names = Punctuated::<Ident, Token![,]>::parse_terminated_with(&inside, Ident::parse_any)?;
    if names.is_empty() {
        return Err(Error::new(span, "`skip` names no argument; write `skip(db)`"));
    }
    Ok(names.into_iter().collect())
}

fn expression(input: ParseStream<'_>) -> Result<Expr, Error> {
    input.parse().map(bare)
}

/// Without the invisible parentheses around what a macro was given.
fn bare(mut expression: Expr) -> Expr {
    while let Expr::Group(group) = expression {
        expression = *group.expr;
    }
    expression
}

fn text(name: &str, input: ParseStream<'_>) -> Result<LitStr, Error> {
    input.parse().map_err(|error: Error| wrong(name, &error))
}

fn texts(name: &str, input: ParseStream<'_>) -> Result<Vec<Text>, Error> {
    let expression = expression(input)?;
    let Expr::Array(array) = expression else {
        return Err(Error::new_spanned(expression, format!("`{name}` is a list; write `{}`", example(name))));
    };
    if array.elems.is_empty() {
        return Err(Error::new_spanned(array, format!("the list is empty; write `{}`, or leave `{name}` out", example(name))));
    }
    array.elems.into_iter().map(|text| Text::of(bare(text))).collect()
}

fn time(name: &str, input: ParseStream<'_>) -> Result<Time, Error> {
    let expression = expression(input)?;
    let Expr::Lit(literal) = &expression else { return Ok(Time::Told(Box::new(expression))) };
    match &literal.lit {
        Lit::Str(text) => duration::parse(&text.value()).map(Time::Known).map_err(|why| Error::new(text.span(), why)),
        Lit::Int(number) if number.suffix().is_empty() => {
            let why = format!("{number} of what? write `{name} = \"{number}s\"` for seconds, or any `Duration`");
            Err(Error::new(number.span(), why))
        }
        other => Err(Error::new(other.span(), format!("expected a duration; write `{}`, or any `Duration`", example(name)))),
    }
}

fn wrong(name: &str, error: &Error) -> Error {
    Error::new(error.span(), format!("{error}: write `{}`", example(name)))
}

fn example(name: &str) -> &'static str {
    match name {
        "key" => "key = \"user:{id}\"",
        "keys" => "keys = [\"user:{id}\", \"mail:{mail}\"]",
        "ttl" => "ttl = \"5m\"",
        "l1_ttl" => "l1_ttl = \"30s\"",
        "negative_ttl" => "negative_ttl = \"10s\"",
        "stale_for" => "stale_for = \"1h\"",
        "stale_if_error" => "stale_if_error = \"5s\"",
        "tags" => "tags = [\"users\", \"org:{org}\"]",
        "cache_if" => "cache_if = |hits| !hits.is_empty()",
        "ttl_with" => "ttl_with = |token| token.life()",
        "tags_with" => "tags_with = |user| [user.tag()]",
        "prefix" => "prefix = \"user:{id}:\"",
        "policy" => "policy = Policy::ttl(HOUR)",
        "cache" => "cache = self.cache",
        "group" => "group = \"user\"",
        "version" => "version = 2",
        "share_error" => "share_error = path::to::function",
        "companions" => "companions = user_cache",
        _ => "crate = path::to::cachetier",
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
