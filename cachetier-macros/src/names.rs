//! The variables that an expression names: as paths, within macros, and in the braces of text that a macro formats.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::punctuated::Punctuated;
use syn::visit_mut::{VisitMut, visit_expr_path_mut, visit_pat_ident_mut};
use syn::{Expr, ExprPath, Ident, LitStr, Macro, PatIdent, Token};

/// The names, without `r#`.
pub(crate) fn names(expression: &Expr) -> HashSet<String> {
    let mut names = Names::default();
    names.visit_expr_mut(&mut expression.clone());
    names.0
}

#[derive(Default)]
struct Names(HashSet<String>);

impl VisitMut for Names {
    fn visit_expr_path_mut(&mut self, path: &mut ExprPath) {
        self.0.extend(path.path.get_ident().map(|name| name.unraw().to_string()));
        visit_expr_path_mut(self, path);
    }

    fn visit_macro_mut(&mut self, called: &mut Macro) {
        if let Some(arguments) = arguments(called) {
            arguments.into_iter().for_each(|mut argument| self.visit_expr_mut(&mut argument));
        } else {
            words(called.tokens.clone(), &mut self.0);
        }
        formatted(called.tokens.clone(), &mut self.0);
    }
}

/// What a macro is given, where that is a list of expressions.
pub(crate) fn arguments(called: &Macro) -> Option<Punctuated<Expr, Token![,]>> {
    called.parse_body_with(Punctuated::parse_terminated).ok()
}

/// The names that an expression binds itself, as a closure does.
pub(crate) fn bound(expression: &Expr) -> HashSet<String> {
    struct Bound(HashSet<String>);
    impl VisitMut for Bound {
        fn visit_pat_ident_mut(&mut self, pattern: &mut PatIdent) {
            self.0.insert(pattern.ident.unraw().to_string());
            visit_pat_ident_mut(self, pattern);
        }
    }
    let mut bound = Bound(HashSet::new());
    bound.visit_expr_mut(&mut expression.clone());
    bound.0
}

/// All words.
pub(crate) fn words(tokens: TokenStream, all: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => {
                all.insert(Ident::unraw(&word).to_string());
            }
            TokenTree::Group(group) => words(group.stream(), all),
            _ => {}
        }
    }
}

/// The variables in the braces of text, as in `"{id:05}"` and `"{id:width$}"`.
fn formatted(tokens: TokenStream, all: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => formatted(group.stream(), all),
            TokenTree::Literal(literal) => {
                let Ok(text) = syn::parse2::<LitStr>(TokenTree::from(literal).into()) else { continue };
                let text = text.value().replace("{{", "");
                for inside in text.split('{').skip(1).filter_map(|behind| behind.split('}').next()) {
                    let (value, format) = inside.split_once(':').unwrap_or((inside, ""));
                    all.insert(value.trim().to_owned());
                    let ends = format.match_indices('$').filter_map(|(end, _)| format.get(..end));
                    all.extend(
                        ends.filter_map(|before| before.rsplit(|char: char| char != '_' && !char.is_alphanumeric()).next())
                            .map(str::to_owned),
                    );
                }
            }
            _ => {}
        }
    }
}
