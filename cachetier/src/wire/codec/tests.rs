#![cfg(any(feature = "postcard", feature = "bincode", feature = "json", feature = "messagepack"))]

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::wire::bounded::{FREE_ELEMENTS, MAX_DEPTH};

/// Every codec of this build: each test is for all of them.
fn all() -> Vec<Codec> {
    let all: Vec<_> = (0..=u8::MAX).filter_map(Codec::of_id).collect();
    assert!(!all.is_empty());
    all
}

fn encoded<V: Serialize + ?Sized>(codec: Codec, value: &V) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.encode(value, &mut bytes).unwrap();
    bytes
}

#[track_caller]
fn check<V: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &V) {
    for codec in all() {
        let bytes = encoded(codec, value);
        assert_eq!(codec.measure(value).unwrap(), bytes.len(), "{codec:?}");
        assert_eq!(&codec.decode::<V>(&bytes).unwrap(), value, "{codec:?}");
    }
}

/// What `decode` of these bytes allocates at most at one time, and its error.
fn cost<V: DeserializeOwned>(codec: Codec, bytes: &[u8]) -> (u64, CodecError) {
    let mut answer = None;
    let info = allocation_counter::measure(|| answer = codec.decode::<V>(bytes).err());
    (info.bytes_max, answer.expect("the bytes are no value"))
}

/// How a codec says what a value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kin {
    /// By the type alone: postcard and bincode.
    Bare,
    MessagePack,
    Json,
}

impl Codec {
    fn kin(self) -> Kin {
        match self.id() {
            3 => Kin::Json,
            4 => Kin::MessagePack,
            _ => Kin::Bare,
        }
    }

    fn describes_itself(self) -> bool {
        self.kin() != Kin::Bare
    }
}

/// Bytes that claim a text, bytes, a sequence and a map of this length, and hold nothing of it. JSON claims nothing: it ends where it
/// ends.
fn claims(codec: Codec, length: u64) -> Vec<Vec<u8>> {
    match codec.kin() {
        Kin::Bare => vec![encoded(codec, &length)],
        Kin::MessagePack => {
            let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
            [0xdb, 0xc6, 0xdd, 0xdf, 0xc9].map(|marker| [&[marker][..], &length].concat()).to_vec()
        }
        Kin::Json => [&b"["[..], b"\"", b"{", b"{\"a\":", b"[1,", b"{\"unit\":"].map(<[u8]>::to_vec).to_vec(),
    }
}

/// The bytes before a value that is the one in a sequence of one element.
fn nested(codec: Codec) -> u8 {
    match codec.kin() {
        Kin::Bare => 1,
        Kin::MessagePack => 0x91,
        Kin::Json => b'[',
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    unit: (),
    flag: bool,
    small: (i8, u8, i16, u16),
    large: (i32, u32, i64, u64),
    huge: (i128, u128),
    float: (f32, f64),
    letter: char,
    text: String,
    boxed: Box<str>,
    option: Option<u8>,
    none: Option<Box<Everything>>,
    newtype: Newtype,
    tuple: Tuple,
    nothing: Nothing,
    list: Vec<Kind>,
    map: BTreeMap<String, Vec<u8>>,
    array: [u16; 3],
    result: Result<u8, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(Vec<u32>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tuple(u8, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    Newtype(String),
    Tuple(u8, Option<Box<Kind>>),
    Struct { id: u64, list: Vec<Kind> },
}

/// Nests through one sequence a level.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    children: Vec<Tree>,
}

/// Nests through options.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Options(Option<Box<Options>>);

/// Nests through each kind of variant.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Variants {
    End,
    Newtype(Box<Variants>),
    Tuple(u8, Box<Variants>),
    Struct { inner: Box<Variants> },
}

/// Takes no byte on the wire, and much in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skipped {
    #[serde(skip)]
    padding: [u64; 16],
}

/// Bytes as one run, as codecs write `serde`'s byte buffers.
#[derive(Debug, PartialEq)]
struct Buffer(Vec<u8>);

impl Serialize for Buffer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Buffer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Buffer;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Buffer, E> {
                Ok(Buffer(bytes.to_vec()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Buffer, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = access.next_element()? {
                    bytes.push(byte);
                }
                Ok(Buffer(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

fn everything() -> Everything {
    Everything {
        unit: (),
        flag: true,
        small: (i8::MIN, u8::MAX, i16::MIN, u16::MAX),
        large: (i32::MIN, u32::MAX, i64::MIN, u64::MAX),
        huge: (i128::MIN, u128::MAX),
        float: (-0.5, 1e300),
        letter: '🦀',
        text: "straße".to_owned(),
        boxed: "boxed".into(),
        option: Some(0),
        none: None,
        newtype: Newtype(vec![1, 70_000]),
        tuple: Tuple(3, String::new()),
        nothing: Nothing,
        list: vec![
            Kind::Unit,
            Kind::Newtype("n".to_owned()),
            Kind::Tuple(1, Some(Box::new(Kind::Unit))),
            Kind::Struct { id: 1 << 40, list: vec![Kind::Unit] },
        ],
        map: BTreeMap::from([("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![])]),
        array: [1, 2, 3],
        result: Err("no".to_owned()),
    }
}

#[test]
fn every_kind_of_type_is_read_as_it_was_written() {
    check(&everything());
    check(&HashMap::from([(1_u8, "one".to_owned()), (2, "two".to_owned())]));
    check(&HashSet::from([1_u64, 1 << 40]));
    check(&Buffer(vec![0, 1, 255]));
    check(&());
    check(&vec![Some(Newtype(vec![])), None]);
    // Written in another way for people than for programs.
    check(&std::net::IpAddr::from([127, 0, 0, 1]));
}

/// Some of nothing: `None` is written the same by codecs that describe themselves, so these refuse it.
#[test]
fn an_option_within_an_option_is_read_as_it_was_written_or_not_written() {
    #[track_caller]
    fn told_apart<V: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &V, codec: Codec, writes: bool) {
        let mut bytes = Vec::new();
        match codec.encode(value, &mut bytes) {
            Ok(()) => assert_eq!(codec.decode::<V>(&bytes).as_ref(), Ok(value), "{codec:?}"),
            Err(error) => assert!(error.to_string().contains("would be read as `None`"), "{codec:?}: {error}"),
        }
        assert_eq!(!bytes.is_empty(), writes, "{codec:?}: {value:?}");
        assert_eq!(codec.measure(value).is_ok(), writes, "{codec:?}");
    }
    for codec in all() {
        let bare = !codec.describes_itself();
        told_apart(&Some(Some(1_u8)), codec, true);
        told_apart(&None::<Option<u8>>, codec, true);
        told_apart(&Some(None::<u8>), codec, bare);
        told_apart(&Some(()), codec, bare);
        told_apart(&Some(Nothing), codec, codec.kin() != Kin::Json);
        told_apart(&Options(Some(Box::new(Options(None)))), codec, bare);
        // However deep within, whatever holds it.
        told_apart(&vec![(1_u8, BTreeMap::from([(1_u8, Some(None::<u8>))]))], codec, bare);
        told_apart(&Within::Newtype(Some(None)), codec, bare);
        told_apart(&Within::Tuple(0, Some(None)), codec, bare);
        told_apart(&Within::Struct { inner: Some(None) }, codec, bare);
        told_apart(&Within::Struct { inner: Some(Some(2)) }, codec, true);
    }
}

/// An option within an option in each kind of variant.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::option_option, reason = "codecs must tell its cases apart, or refuse")]
enum Within {
    Newtype(Option<Option<u8>>),
    Tuple(u8, Option<Option<u8>>),
    Struct { inner: Option<Option<u8>> },
}

/// JSON would write them as `null`, which is no number when it is read.
#[test]
fn a_number_that_is_not_finite_is_read_as_it_was_written_or_not_written() {
    for codec in all() {
        for number in [f64::INFINITY, f64::NEG_INFINITY] {
            let mut bytes = Vec::new();
            assert_eq!(codec.encode(&vec![number], &mut bytes).is_ok(), codec.kin() != Kin::Json);
            assert_eq!(codec.encode(&f32::INFINITY, &mut bytes).is_ok(), codec.kin() != Kin::Json);
        }
        if codec.kin() != Kin::Json {
            check_nan(codec);
        }
    }
}

#[track_caller]
fn check_nan(codec: Codec) {
    assert!(codec.decode::<f64>(&encoded(codec, &f64::NAN)).unwrap().is_nan());
    assert_eq!(codec.decode::<f64>(&encoded(codec, &f64::NEG_INFINITY)), Ok(f64::NEG_INFINITY));
}

/// What a map can have as keys: JSON has text for all of them, and refuses the others.
#[test]
fn a_map_has_any_keys_or_is_not_written() {
    check(&BTreeMap::from([(i64::MIN, 'a'), (1, 'b')]));
    check(&BTreeMap::from([('ä', 1), ('\n', 2)]));
    check(&BTreeMap::from([(true, 1)]));
    check(&BTreeMap::from([(u128::MAX, 1)]));
    for codec in all() {
        let mut bytes = Vec::new();
        let keys = BTreeMap::from([((1_u8, 2_u8), "a".to_owned())]);
        match codec.encode(&keys, &mut bytes) {
            Ok(()) => assert_eq!(codec.decode(&bytes), Ok(keys)),
            Err(error) => assert_eq!((codec.kin(), error.to_string()), (Kin::Json, "key must be a string".to_owned())),
        }
    }
}

/// The user of an earlier release, and of a later one.
mod releases {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Earlier {
        pub(super) id: u64,
        pub(super) name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(super) email: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Later {
        pub(super) name: String,
        pub(super) id: u64,
        #[serde(default)]
        pub(super) roles: Vec<String>,
        pub(super) phone: Option<String>,
    }
}

#[test]
fn codecs_that_describe_themselves_read_what_another_release_has_written() {
    let earlier = releases::Earlier { id: 7, name: "Ada".to_owned(), email: None };
    let later = releases::Later { name: "Ada".to_owned(), id: 7, roles: vec![], phone: None };
    for codec in all().into_iter().filter(|codec| codec.describes_itself()) {
        assert_eq!(codec.decode(&encoded(codec, &earlier)).as_ref(), Ok(&later), "{codec:?}");
        assert_eq!(codec.decode(&encoded(codec, &later)).as_ref(), Ok(&earlier), "{codec:?}");
        assert_eq!(codec.decode(&encoded(codec, &earlier)).as_ref(), Ok(&earlier), "{codec:?}");
    }
}

#[test]
fn a_large_value_is_read_as_it_was_written() {
    check(&(0..100_000_u64).collect::<Vec<_>>());
    check(&(0..20_000).map(|n| vec![n.to_string(); 2]).collect::<Vec<_>>());
    check(&"x".repeat(1 << 20));
}

#[test]
fn the_ids_on_the_wire_are_fixed() {
    for codec in all() {
        assert_eq!(Codec::of_id(codec.id()), Some(codec));
    }
    #[cfg(feature = "postcard")]
    assert_eq!((Codec::Postcard.id(), Codec::preferred()), (1, Some(Codec::Postcard)));
    #[cfg(feature = "bincode")]
    assert_eq!(Codec::Bincode.id(), 2);
    #[cfg(feature = "json")]
    assert_eq!(Codec::Json.id(), 3);
    #[cfg(feature = "messagepack")]
    assert_eq!(Codec::MessagePack.id(), 4);
    #[cfg(all(feature = "bincode", not(feature = "postcard")))]
    assert_eq!(Codec::preferred(), Some(Codec::Bincode));
    assert!(Codec::preferred().is_some());
    assert_eq!((Codec::of_id(0), Codec::of_id(5)), (None, None));
}

#[test]
fn a_value_is_appended_and_what_was_there_stays() {
    for codec in all() {
        let mut bytes = b"before".to_vec();
        codec.encode("text", &mut bytes).unwrap();
        assert_eq!(bytes, [b"before".to_vec(), encoded(codec, "text")].concat());
    }
}

#[test]
fn a_value_that_cannot_be_written_leaves_what_was_there() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it fails"))
        }
    }
    for codec in all() {
        let mut bytes = b"before".to_vec();
        assert!(codec.encode(&("written first", Fails), &mut bytes).is_err());
        assert_eq!(bytes, b"before");
        assert!(codec.measure(&Fails).is_err());
    }
}

#[test]
fn trailing_bytes_are_an_error() {
    for codec in all() {
        let mut bytes = encoded(codec, &everything());
        bytes.extend_from_slice(&[0, 0]);
        assert_eq!(codec.decode::<Everything>(&bytes).unwrap_err().to_string(), "2 bytes are left behind the value");
        assert!(codec.decode::<()>(&[0]).is_err());
    }
}

#[test]
fn a_value_cut_short_anywhere_is_an_error() {
    for codec in all() {
        let bytes = encoded(codec, &everything());
        for length in 0..bytes.len() {
            assert!(codec.decode::<Everything>(&bytes[..length]).is_err(), "{codec:?} {length}");
        }
    }
}

#[test]
fn a_length_that_is_only_claimed_costs_no_memory() {
    for codec in all() {
        for claimed in [1 << 20, 1 << 30, 1 << 40, 1 << 60, u64::MAX] {
            for bytes in claims(codec, claimed) {
                let behind = [vec![1], bytes.clone()].concat();
                let costs = [
                    cost::<String>(codec, &bytes),
                    cost::<Box<str>>(codec, &bytes),
                    cost::<Buffer>(codec, &bytes),
                    cost::<Vec<u8>>(codec, &bytes),
                    cost::<Vec<u64>>(codec, &bytes),
                    cost::<Vec<Everything>>(codec, &bytes),
                    cost::<HashSet<u64>>(codec, &bytes),
                    cost::<HashMap<u64, Everything>>(codec, &bytes),
                    cost::<BTreeMap<String, u8>>(codec, &bytes),
                    cost::<Option<Vec<u128>>>(codec, &behind),
                    cost::<(u8, String)>(codec, &behind),
                    cost::<Untagged>(codec, &bytes),
                ];
                // Ten bytes may reserve ten elements and a hash table for them; the words of an error take some more.
                let most = 16 * u64::try_from(size_of::<(u64, Everything)>()).unwrap() + 1_024;
                for (bytes_max, error) in costs {
                    assert!(bytes_max <= most, "{codec:?} {claimed}: {bytes_max} bytes for {error}");
                }
            }
        }
    }
}

#[test]
fn claims_within_claims_reserve_no_more_than_one() {
    for codec in all() {
        // Each level claims as many children as there are bytes left, and the first of them does the same.
        let depth = 20;
        let input = 60_000;
        let mut bytes = Vec::new();
        let claim = match codec.kin() {
            Kin::Bare => encoded(codec, &50_000_u64),
            Kin::MessagePack => vec![0x91, 0xdd, 0, 0, 0xc3, 0x50],
            Kin::Json => b"[[".to_vec(),
        };
        for _ in 0..depth {
            bytes.extend_from_slice(&claim);
        }
        bytes.resize(input, 0xff);
        let (bytes_max, error) = cost::<Tree>(codec, &bytes);
        let most = u64::try_from(2 * input * size_of::<Tree>()).unwrap();
        assert!(bytes_max <= most, "{codec:?}: {bytes_max} bytes for {error}");
    }
}

#[test]
#[expect(clippy::zero_sized_map_values, reason = "a map whose entries take no byte")]
fn elements_that_take_no_byte_are_few() {
    for codec in all() {
        let few = vec![(); FREE_ELEMENTS];
        assert_eq!(codec.decode::<Vec<()>>(&encoded(codec, &few)).unwrap(), few);
        if codec.describes_itself() {
            // Each is there, or there is an error.
            continue;
        }
        for claimed in [1_u64 << 30, 1 << 60] {
            let bytes = encoded(codec, &claimed);
            let why = "the value claims more elements than its bytes can hold";
            assert_eq!(codec.decode::<Vec<()>>(&bytes).unwrap_err().to_string(), why);
            assert_eq!(codec.decode::<BTreeMap<(), [u8; 0]>>(&bytes).unwrap_err().to_string(), why);
            let (bytes_max, error) = cost::<Vec<Skipped>>(codec, &bytes);
            assert_eq!(error.to_string(), why);
            // A vector that doubles holds two copies while it grows.
            let most = u64::try_from(4 * FREE_ELEMENTS * size_of::<Skipped>()).unwrap();
            assert!(bytes_max <= most, "{codec:?}: {bytes_max}");
        }
    }
}

fn tree(depth: u32) -> Tree {
    (1..depth).fold(Tree { children: vec![] }, |child, _| Tree { children: vec![child] })
}

#[test]
fn nesting_is_bounded_so_that_the_stack_is() {
    for codec in all() {
        // A tree's level is a struct and a sequence.
        let deepest = tree(MAX_DEPTH / 2);
        assert_eq!(codec.decode::<Tree>(&encoded(codec, &deepest)).unwrap(), deepest);
        let error = codec.decode::<Tree>(&encoded(codec, &tree(MAX_DEPTH / 2 + 1))).unwrap_err();
        assert_eq!(error.to_string(), "the value nests too deep");
        // An enum alone is one level.
        let chain = |depth| (1..depth).fold(Variants::End, |inner, _| Variants::Newtype(Box::new(inner)));
        assert_eq!(codec.decode::<Variants>(&encoded(codec, &chain(MAX_DEPTH))).unwrap(), chain(MAX_DEPTH));
        assert!(codec.decode::<Variants>(&encoded(codec, &chain(MAX_DEPTH + 1))).is_err());
        // Each byte is one level: a sequence of one element.
        let deep = vec![nested(codec); 1 << 20];
        let too_deep = |error: CodecError| assert_eq!(error.to_string(), "the value nests too deep", "{codec:?}");
        too_deep(codec.decode::<Tree>(&deep).unwrap_err());
        too_deep(codec.decode::<Options>(&deep).unwrap_err());
        if codec.describes_itself() {
            too_deep(codec.decode::<Untagged>(&deep).unwrap_err());
            // A field that nobody asks for, too: JSON skips it without nesting, and finds that it never ends.
            let name = encoded(codec, "other");
            let open = if codec.kin() == Kin::Json { b'{' } else { 0x81 };
            let unknown = [&[open][..], &name, if codec.kin() == Kin::Json { b":" } else { b"" }, &deep].concat();
            let error = codec.decode::<Tree>(&unknown).unwrap_err().to_string();
            assert!(codec.kin() == Kin::Json || error == "the value nests too deep", "{codec:?}: {error}");
        } else {
            for variant in 1..=3 {
                too_deep(codec.decode::<Variants>(&vec![variant; 1 << 20]).unwrap_err());
            }
        }
        assert_eq!(codec.decode(&encoded(codec, &Variants::End)), Ok(Variants::End));
    }
}

/// Whatever the digits, reading them takes a time that grows as their number: as its square, this would take hours.
#[test]
fn a_number_of_a_million_digits_is_read_or_refused_soon() {
    for codec in all().into_iter().filter(|codec| codec.kin() == Kin::Json) {
        for digits in
            [vec![b'7'; 1 << 20], [&b"0."[..], &vec![b'3'; 1 << 20]].concat(), [&b"1e"[..], &vec![b'9'; 1 << 20]].concat()]
        {
            let _ = codec.decode::<f64>(&digits);
            let _ = codec.decode::<u128>(&digits);
            let _ = codec.decode::<Untagged>(&digits);
        }
    }
}

/// Asks the bytes what they are.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
    List(Vec<Untagged>),
    Map(BTreeMap<String, Untagged>),
}

#[test]
fn a_type_that_asks_the_bytes_what_they_are_needs_a_codec_that_says_so() {
    let number = Untagged::Number(1);
    let list = Untagged::List(vec![
        Untagged::Text("a".to_owned()),
        Untagged::Map(BTreeMap::from([("b".to_owned(), Untagged::Number(2))])),
    ]);
    for codec in all() {
        for value in [&number, &list] {
            let read = codec.decode::<Untagged>(&encoded(codec, value));
            assert_eq!(read.is_ok(), codec.describes_itself(), "{codec:?}: {read:?}");
            assert!(read.is_err() || read.as_ref() == Ok(value), "{codec:?}: {read:?}");
        }
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![Just(Kind::Unit), any::<String>().prop_map(Kind::Newtype)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (any::<u8>(), prop::option::of(inner.clone().prop_map(Box::new))).prop_map(|(id, kind)| Kind::Tuple(id, kind)),
            (any::<u64>(), prop::collection::vec(inner, 0..4)).prop_map(|(id, list)| Kind::Struct { id, list }),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_read_as_it_was_written(
        kinds in prop::collection::vec(kinds(), 0..5),
        numbers in any::<(i64, u64, i128, u16, char, bool)>(),
        map in prop::collection::btree_map(any::<String>(), any::<Option<Vec<u32>>>(), 0..5),
    ) {
        check(&(kinds, numbers, map));
    }

    #[test]
    fn any_bytes_have_an_answer_at_a_bounded_cost(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for codec in all() {
            let mut decoded = None;
            let info = allocation_counter::measure(|| decoded = codec.decode::<Vec<Kind>>(&bytes).ok());
            let most = u64::try_from(4 * (bytes.len() + 16) * size_of::<Kind>()).unwrap() + 1_024;
            prop_assert!(info.bytes_max <= most, "{:?}: {} bytes of {}", codec, info.bytes_max, most);
            if let Some(value) = decoded {
                prop_assert_eq!(codec.decode::<Vec<Kind>>(&encoded(codec, &value)).unwrap(), value);
            }
        }
    }
}
