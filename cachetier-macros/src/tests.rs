//! Expansions of each shape, as files: what a change of the macros changes is seen in the change of the files. With `UPDATE_EXPANSIONS` set
//! they are written anew.

use std::path::Path;

use proc_macro2::TokenStream;
use quote::quote;

use crate::expand;

/// Compares an expansion, laid out, with its file.
fn check(name: &str, expansion: TokenStream) {
    let file = syn::parse2(expansion).unwrap_or_else(|error| panic!("{name} expands to what is no code: {error}"));
    let code = prettyplease::unparse(&file);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expansions").join(name).with_extension("rs");
    if std::env::var_os("UPDATE_EXPANSIONS").is_some() {
        std::fs::write(&path, &code).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(code == kept, "{name} expands to\n{code}\nand not to what {} holds", path.display());
}

fn cached(name: &str, options: TokenStream, item: &TokenStream) {
    check(name, expand::cached(options, item));
}

/// In the block that it stands in.
fn method(name: &str, options: TokenStream, item: &TokenStream) {
    let expansion = expand::cached(options, item);
    check(name, quote! { impl Users { #expansion } });
}

#[test]
fn functions() {
    cached(
        "result_by_template",
        quote! { key = "user:{id}", ttl = "5m", tags = ["users", "org:{org}"] },
        &quote! {
            /// Loads a user.
            pub async fn load_user(db: &Db, org: u64, id: u64) -> Result<User, DbError> {
                db.fetch(org, id).await
            }
        },
    );
    cached(
        "option_by_arguments",
        quote! { ttl = "90s", l1_ttl = "10s", negative_ttl = TTL, skip(db) },
        &quote! { async fn find(db: &Db, name: String, page: Option<u32>) -> Option<User> { db.find(name, page).await } },
    );
    cached(
        "value_that_is_asked",
        quote! { key = "search:{text}", ttl = "5m", tags_with = tags, ttl_with = |hits| hits.life(), cache_if = complete },
        &quote! { async fn search(text: &str) -> Result<Vec<Hit>, DbError> { find(text).await } },
    );
    cached(
        "value_of_a_group",
        quote! { key = "{id}", group = "user", version = 2, policy = POLICY, cache = CACHE, companions = none },
        &quote! { pub(crate) async fn count(id: u64) -> u64 { id } },
    );
    cached(
        "result_detached",
        quote! { key = "user:{id}", policy = POLICY, detached },
        &quote! {
            async fn load(db: &Db, name: &str, #[cfg(feature = "more")] more: &[u64], id: u64) -> Result<User, DbError> {
                db.fetch(name, id).await
            }
        },
    );
    cached(
        "generic_result_of_option",
        quote! { ttl = "1h", share_error = again, companions = of_rows, crate = crate::renamed, skip(db) },
        &quote! {
            pub(super) async fn rows<'a, T, const N: usize>(db: &'a Db, id: T, of: super::Table<N>) -> Result<Option<Vec<T>>, DbError>
            where
                T: Value + KeyPart,
                Db: 'a,
            {
                db.rows(id, of).await
            }
        },
    );
}

#[test]
fn types_without_a_name_and_what_is_left_out() {
    cached(
        "arguments_with_conditions",
        quote! { ttl = "5m", skip(db) },
        &quote! {
            #[cfg(feature = "users")]
            #[allow(non_snake_case)]
            #[doc(hidden)]
            #[inline]
            async fn Find(db: &impl Db, id: u64, #[cfg(feature = "pages")] page: u32) -> User { db.find(id).await }
        },
    );
}

#[test]
fn methods() {
    method(
        "method_detached",
        quote! { policy = POLICY, detached, companions = none },
        &quote! {
            async fn load(&self, id: u64) -> User {
                info!(self.name, "{}", self::text());
                self.db.fetch(async { self.name() }.await, id).await
            }
        },
    );
    method(
        "method_of_a_group",
        quote! { group = "user", ttl = "5m", skip(self) },
        &quote! { async fn find(&self, id: u64) -> User { self.db.find(id).await } },
    );
    method(
        "function_of_a_type",
        quote! { key = "{Self::KIND}:{id}", ttl = "5m", cache = Self::cache() },
        &quote! { async fn find(id: u64) -> User { User::find(id).await } },
    );
    method(
        "method_by_template",
        quote! { key = "{self.tenant}/user:{id}", ttl = "5m", cache = self.cache },
        &quote! { pub async fn find(&self, id: u64) -> Result<User, DbError> { self.db.find(id).await } },
    );
    method(
        "method_by_arguments",
        quote! { ttl = "5m" },
        &quote! { async fn find(&self, mut id: u64) -> User { id += 1; self.db.find(id).await } },
    );
}

#[test]
fn invalidating() {
    let function =
        quote! { async fn rename(db: &Db, org: u64, id: u64, name: &str) -> Result<(), DbError> { db.rename(id, name).await } };
    check("invalidates", expand::invalidates(quote! { key = "user:{id}", tags = ["org:{org}"] }, &function));
    let function = quote! { async fn forget(&self, ids: Vec<u64>) { self.db.forget(ids).await } };
    let expansion = expand::invalidates(quote! { keys = [USERS], prefix = "user:{ids[0]}:", cache = self.cache }, &function);
    check("invalidates_method", quote! { impl Users { #expansion } });
}

#[test]
fn a_mistake_leaves_the_function_as_it_was() {
    let function = quote! { async fn load(id: u64) -> u64 { id } };
    for options in [quote! {}, quote! { key = "{name}", ttl = "5m" }, quote! { ttl = 5 }, quote! { what }] {
        let expansion = expand::cached(options, &function).to_string();
        assert_eq!(expansion.matches("compile_error").count(), 1, "{expansion}");
        assert!(expansion.ends_with(&function.to_string()), "{expansion}");
    }
}
