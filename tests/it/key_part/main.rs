//! Keys made of values: different values never make the same key, and a value makes the same key in every release.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;

use cachetier::{KeyPart, KeyText};
use fastrand::Rng;

#[derive(Clone, Debug, PartialEq, Eq, Hash, KeyPart)]
struct Id(u64);

#[derive(Clone, Debug, PartialEq, Eq, Hash, KeyPart)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Eq, Hash, KeyPart)]
struct Nothing {}

#[derive(Clone, Debug, PartialEq, Eq, Hash, KeyPart)]
struct One {
    only: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, KeyPart)]
struct Page<'a, T, const N: usize>
where
    T: Clone,
{
    r#type: &'a str,
    filter: Option<T>,
    sort: [u8; N],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, KeyPart)]
enum Scope<T> {
    All,
    Empty {},
    Org(T),
    Range { from: T, to: T },
    r#Self_(Box<Scope<T>>),
    Größe(i8),
}

mod renamed {
    pub(crate) use ::cachetier as cache;
}

#[derive(KeyPart)]
#[key_part(crate = "crate::renamed::cache")]
struct Elsewhere(bool);

#[derive(KeyPart)]
enum Never {}

/// One line for each: what it is, and its form.
fn forms() -> String {
    let mut lines = String::new();
    let mut line = |value: &str, form: &dyn KeyPart| {
        let mut key = KeyText::new();
        form.write(&mut key);
        lines.extend([value, " = ", key.as_str(), "\n"]);
    };
    macro_rules! forms {
        ($($value:expr),* $(,)?) => {$( line(stringify!($value), &$value); )*};
    }
    forms!(
        0_u8,
        u8::MAX,
        u16::MAX,
        1_000_000_u32,
        u64::MAX,
        u128::MAX,
        7_usize,
        i8::MIN,
        i16::MIN,
        -1_i32,
        i64::MIN,
        i128::MIN,
        -7_isize,
        NonZero::<u64>::MIN,
        NonZero::<i128>::MAX,
        true,
        false,
        'a',
        ':',
        'ä',
        '€',
        "",
        "ada@example.org",
        "a:b/c|d#e;f=g&h?i!j*k~l^m$n<o>p[q]r{s}t\\u'v\"w`x,y(z)%",
        "tab\tnul\0del\u{7f}",
        "Größe 漢字 🦀",
        String::from("plain_1.0-x+y"),
        0.0_f64,
        -0.0_f64,
        1.5_f64,
        f64::INFINITY,
        1.5_f32,
        (),
        None::<u8>,
        Some(7),
        Some(""),
        Some(None::<u8>),
        Some(Some(7)),
        Some(()),
        (1,),
        ("a", "bc"),
        ("ab", "c"),
        ("", ""),
        (1, (2, 3), [4, 5]),
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
        [0_u8; 0],
        [""],
        ["", ""],
        ["a,b", "(c)"],
        vec![vec![1], vec![], vec![2, 3]],
        Box::new(1),
        Arc::new("x"),
        Rc::new("x"),
        Arc::<str>::from("x"),
        Cow::Borrowed("x"),
        Cow::<[u8]>::Owned(vec![1, 2]),
        &&1,
        IpAddr::from([127, 0, 0, 1]),
        Ipv6Addr::LOCALHOST,
        SocketAddr::from(([127, 0, 0, 1], 80)),
        Id(42),
        Unit,
        Nothing {},
        One { only: String::new() },
        Page { r#type: "a b", filter: Some(Id(7)), sort: [1, 2] },
        Page::<u8, 0> { r#type: "", filter: None, sort: [] },
        Scope::<u8>::All,
        Scope::<u8>::Empty {},
        Scope::Org(Id(7)),
        Scope::Range { from: "a", to: "b" },
        Scope::r#Self_(Box::new(Scope::Org(1))),
        Scope::<u8>::Größe(-1),
        Elsewhere(true),
        uuid::Uuid::from_u128(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210),
    );
    lines
}

/// The file is never changed, only added to: keys outlive releases, and a key in another form is a value lost or, worse, another's.
#[test]
fn a_value_has_the_form_it_had_in_every_release() {
    let kept = include_str!("forms.golden");
    let forms = forms();
    for (now, kept) in forms.lines().zip(kept.lines()) {
        assert_eq!(now, kept);
    }
    assert_eq!(forms.lines().count(), kept.lines().count(), "forms that the file does not have, or has alone");
}

#[test]
fn an_enum_without_variants_has_a_form_that_is_never_asked_for() {
    fn has_form<P: KeyPart>() {}
    has_form::<Never>();
}

/// Values that are likely to be taken for each other.
trait Arbitrary: Clone + Debug + Eq + Hash + KeyPart {
    fn any(random: &mut Rng) -> Self;
}

impl Arbitrary for String {
    fn any(random: &mut Rng) -> Self {
        const PIECES: &[&str] =
            &["a", "b", "A", ":", ",", "(", ")", "()", "%", "%3A", "3A", "%2", "ä", "\u{0}", "-", "1", "Org", "|", "_"];
        (0..random.usize(0..6)).filter_map(|_| random.choice(PIECES)).copied().collect()
    }
}

impl Arbitrary for u64 {
    fn any(random: &mut Rng) -> Self {
        random.u64(..) >> random.u32(0..64)
    }
}

impl Arbitrary for i16 {
    fn any(random: &mut Rng) -> Self {
        random.i16(..) >> random.u32(0..16)
    }
}

impl Arbitrary for char {
    fn any(random: &mut Rng) -> Self {
        random.char('\0'..'\u{ff}')
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn any(random: &mut Rng) -> Self {
        random.bool().then(|| T::any(random))
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn any(random: &mut Rng) -> Self {
        (0..random.usize(0..4)).map(|_| T::any(random)).collect()
    }
}

impl<T: Arbitrary, U: Arbitrary> Arbitrary for (T, U) {
    fn any(random: &mut Rng) -> Self {
        (T::any(random), U::any(random))
    }
}

impl Arbitrary for One {
    fn any(random: &mut Rng) -> Self {
        Self { only: Arbitrary::any(random) }
    }
}

impl<T: Arbitrary> Arbitrary for Scope<T> {
    fn any(random: &mut Rng) -> Self {
        match random.u8(0..6) {
            0 => Self::All,
            1 => Self::Empty {},
            2 => Self::Org(T::any(random)),
            3 => Self::Range { from: T::any(random), to: T::any(random) },
            4 => Self::r#Self_(Box::new(Self::any(random))),
            _ => Self::Größe(random.i8(..)),
        }
    }
}

const CASES: usize = 1_000_000;
const TYPES: usize = 10;

/// Makes keys of many values as `write` says, which must be different where the values are. Returns how many different ones there were.
fn distinct<T: Arbitrary>(seed: u64, write: impl Fn(&T, &mut KeyText)) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut values: HashMap<String, T> = HashMap::new();
    for _ in 0..CASES / TYPES {
        let value = T::any(&mut random);
        let mut key = KeyText::new();
        write(&value, &mut key);
        assert!(!key.is_empty(), "{value:?} has no form");
        let other = values.entry(key.into()).or_insert_with(|| value.clone());
        assert_eq!(*other, value, "two values, one key");
    }
    values.len()
}

fn form<T: Arbitrary>(seed: u64) -> usize {
    distinct(seed, |value: &T, key| {
        key.part(value);
    })
}

#[test]
fn different_values_make_different_keys() {
    let distinct = [
        form::<String>(1),
        form::<(String, String)>(2),
        form::<Vec<String>>(3),
        form::<Vec<Vec<String>>>(4),
        form::<Option<Option<(String, Option<String>)>>>(5),
        form::<(u64, i16)>(6),
        form::<Scope<String>>(7),
        form::<(Scope<Vec<String>>, (One, char))>(8),
        // As templates put them together: `{}:{}` and `x{}y/z{}`.
        distinct(9, |(one, two): &(String, Vec<String>), key| {
            key.part(one).literal(":").part(two);
        }),
        distinct(10, |(one, two): &(String, Scope<String>), key| {
            key.literal("x").part(one).literal("y/z").part(two);
        }),
    ];
    println!("{CASES} values of {} types, different ones of each: {distinct:?}", distinct.len());
    assert!(distinct.len() == TYPES && distinct.iter().sum::<usize>() > CASES / 4, "too few different values: {distinct:?}");
}
