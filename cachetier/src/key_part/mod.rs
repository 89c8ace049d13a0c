//! Keys made of values: every part delimited and escaped, so that two lists of values never make the same key.

mod forms;
mod text;

pub use text::KeyText;

/// What can be a part of a key. `#[derive(KeyPart)]` makes structs and enums of parts parts themselves.
///
/// Two values of a type never have the same form, and a form holds no character that could divide a key: neither `:` nor `/`, `|`, `#`, `;`,
/// `=` or a space. So `("a", "bc")` and `("ab", "c")` differ, and a user's text cannot reach out of its place.
///
/// | type | form | example |
/// |---|---|---|
/// | integers | decimal | `42`, `-7` |
/// | `bool` | `true`, `false` | `true` |
/// | text, `char` | itself, where it has letters and digits (of any script), `-`, `_`, `.`, `@`, `+`; other ASCII as `%` and two hex digits; empty: `%` | `ada@example.org`, `a%3Ab` |
/// | floats | their bits in hex, so that each has one form | `3ff8000000000000` |
/// | `Option` | `()`, or the value in parentheses | `(42)` |
/// | tuples, slices, arrays, `Vec` | their parts in parentheses, divided by commas | `(7,ada)`, `()` |
/// | references, `Box`, `Arc`, `Rc`, `Cow` | as what they point at | |
/// | IP and socket addresses | as text | `127.0.0.1%3A80` |
/// | `Uuid` (feature `uuid`) | hyphenated, lower case | |
/// | derived: a struct of one unnamed field | as that field | `42` |
/// | derived: other structs | as a tuple | `(7,ada)` |
/// | derived: an enum | the variant, and its fields as a tuple | `Admin`, `Member(7)` |
///
/// The forms are the same in every release, as keys outlive releases.
///
/// ```
/// use cachetier::{KeyPart, KeyText};
///
/// #[derive(KeyPart)]
/// struct OrgId(u64);
///
/// #[derive(KeyPart)]
/// enum Scope {
///     Everybody,
///     Member { org: OrgId, name: String },
/// }
///
/// let mut key = KeyText::new();
/// key.literal("page:").part("home").literal(":").part(&Scope::Member { org: OrgId(7), name: "a:b".into() });
/// assert_eq!(key.as_str(), "page:home:Member(7,a%3Ab)");
/// assert_eq!(KeyText::of(&Scope::Everybody).as_str(), "Everybody");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no key form",
    label = "this cannot be a part of a key",
    note = "leave it out of the key with `skip(..)`, name what identifies it in `key = \"..\"`, or derive `KeyPart` for it"
)]
pub trait KeyPart {
    /// Writes the value's form behind `key`. An implementation writes other parts and, between and around them, `(`, `,` and `)`; what it
    /// writes must be different for different values, and not be empty.
    ///
    /// ```
    /// use cachetier::{KeyPart, KeyText};
    ///
    /// struct Area {
    ///     north: f64,
    ///     east: f64,
    /// }
    ///
    /// impl KeyPart for Area {
    ///     fn write(&self, key: &mut KeyText) {
    ///         // As far apart as matters here: to the hundredth.
    ///         let hundredths = |degrees: f64| (degrees * 100.0).round() as i64;
    ///         key.part(&(hundredths(self.north), hundredths(self.east)));
    ///     }
    /// }
    ///
    /// assert_eq!(KeyText::of(&Area { north: 52.5186, east: 13.4083 }).as_str(), "(5252,1341)");
    /// ```
    fn write(&self, key: &mut KeyText);
}
