//! Templates of keys and tags: `"user:{id}"`. Text as it is, and in braces what stands for it: arguments, their fields, expressions.

use proc_macro2::Span;
use syn::{Error, Expr, LitStr};

/// A template, taken apart.
#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Clone)]
pub(crate) enum Piece {
    Literal(String),
    Value(Box<Expr>),
}

/// Whether a value's form never holds this: it ends the value before it and begins the one behind.
fn separates(char: char) -> bool {
    char.is_ascii() && !char.is_ascii_alphanumeric() && !"-_.@+%(),".contains(char)
}

impl Template {
    /// Reads a template. Two values with nothing between them that ends the first are an error: `{a}{b}` would take `1` and `23` for `12`
    /// and `3`.
    pub(crate) fn parse(literal: &LitStr) -> Result<Self, Error> {
        let (text, wrong) = (literal.value(), |why: String| Error::new(literal.span(), why));
        let mut pieces = Vec::new();
        let (mut plain, mut chars) = (String::new(), text.chars().peekable());
        // What stands between the value before and the one that comes.
        let mut between: Option<String> = None;
        while let Some(char) = chars.next() {
            match char {
                '{' if chars.next_if_eq(&'{').is_some() => plain.push('{'),
                '}' if chars.next_if_eq(&'}').is_some() => plain.push('}'),
                '}' => return Err(wrong("a `}` has no `{` before it; for the sign itself write `}}`".to_owned())),
                '{' => {
                    let inside = placeholder(&mut chars)
                        .ok_or_else(|| wrong("a `{` has no `}` behind it; for the sign itself write `{{`".to_owned()))?;
                    if between.is_some_and(|_| !plain.contains(separates)) {
                        return Err(wrong(format!(
                            "nothing divides `{{{inside}}}` from the value before it, so that different values could make the same key; write \
                             a `:` between them"
                        )));
                    }
                    if !plain.is_empty() {
                        pieces.push(Piece::Literal(plain.clone()));
                    }
                    between = Some(std::mem::take(&mut plain));
                    pieces.push(Piece::Value(Box::new(value(&inside, literal.span())?)));
                }
                char => plain.push(char),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Literal(plain));
        }
        if pieces.is_empty() {
            return Err(wrong("the text is empty, expected something like \"user:{id}\"".to_owned()));
        }
        Ok(Self { pieces })
    }

    /// The expressions in it.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Expr> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Value(value) => Some(&**value),
        })
    }
}

/// The text up to the brace that closes the one just read, braces within it closed.
fn placeholder(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let (mut inside, mut open) = (String::new(), 0);
    for char in chars {
        match char {
            '{' => open += 1,
            '}' if open == 0 => return Some(inside),
            '}' => open -= 1,
            _ => {}
        }
        inside.push(char);
    }
    None
}

fn value(inside: &str, span: Span) -> Result<Expr, Error> {
    if inside.trim().is_empty() {
        return Err(Error::new(span, "`{}` names nothing; write the argument into it, such as `{id}`"));
    }
    LitStr::new(inside, span).parse::<Expr>().map_err(|error| {
        let mend = match inside.split_once(':') {
            Some((name, _)) if syn::parse_str::<syn::Ident>(name.trim()).is_ok() => {
                format!("; a key has no formats, write `{{{}}}`", name.trim())
            }
            _ => ", such as `{id}`, `{user.id}` or `{page / 10}`".to_owned(),
        };
        Error::new(span, format!("`{{{inside}}}` holds no expression ({error}){mend}"))
    })
}

#[cfg(test)]
mod tests {
    use quote::ToTokens as _;

    use super::*;

    fn parse(text: &str) -> Result<Vec<String>, String> {
        let template = Template::parse(&LitStr::new(text, Span::call_site())).map_err(|error| error.to_string())?;
        let text = |piece: Piece| match piece {
            Piece::Literal(text) => format!("'{text}'"),
            Piece::Value(value) => value.to_token_stream().to_string(),
        };
        Ok(template.pieces.into_iter().map(text).collect())
    }

    #[test]
    fn a_template_is_text_and_values() {
        let cases: &[(&str, &[&str])] = &[
            ("user:{id}", &["'user:'", "id"]),
            ("{id}", &["id"]),
            ("users", &["'users'"]),
            ("a:{user.id}/b:{self.tenant}", &["'a:'", "user . id", "'/b:'", "self . tenant"]),
            ("page:{page / 10}", &["'page:'", "page / 10"]),
            ("{shop::name(id)}|{x}", &["shop :: name (id)", "'|'", "x"]),
            ("{{{id}}}", &["'{'", "id", "'}'"]),
            ("{match id { 0 => 1, _ => 2 }}", &["match id { 0 => 1 , _ => 2 }"]),
        ];
        for (text, pieces) in cases {
            assert_eq!(parse(text).as_deref(), Ok(&*pieces.iter().map(ToString::to_string).collect::<Vec<_>>()), "{text}");
        }
    }

    #[test]
    fn what_is_no_template_is_told_with_the_mend() {
        let cases = [
            ("", "the text is empty"),
            ("user:{id", "for the sign itself write `{{`"),
            ("user:id}", "for the sign itself write `}}`"),
            ("user:{}", "write the argument into it"),
            ("user:{id:>5}", "a key has no formats, write `{id}`"),
            ("user:{id +}", "holds no expression"),
            ("{a}{b}", "write a `:` between them"),
            ("{a}x-y.{b}", "write a `:` between them"),
            ("{a}({b}", "write a `:` between them"),
            ("{a}:{b}%{c}", "nothing divides `{c}`"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    /// The two tables stand in different crates: what separates is just what no form of a value holds.
    #[test]
    fn what_separates_is_never_part_of_a_value() {
        let plain = |char: char| char.is_ascii_alphanumeric() || "-_.@+".contains(char);
        for char in (0..128_u8).map(char::from) {
            let composed = "%(),".contains(char);
            assert_eq!(separates(char), !plain(char) && !composed, "{char:?}");
        }
        assert!(!separates('ä'));
    }
}
