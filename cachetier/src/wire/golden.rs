//! Bytes as the releases write them, and what they say. A vector is never changed: a new layout gets a new version and new
//! vectors, and the old ones must still be read. They were computed by a second, independent implementation.

use crate::key::TagHash;
use crate::rule::hold::{Hold, Record};
use crate::rule::seq::{Era, Point, Seq};
use crate::rule::stamp::Stamp;
use crate::wire::codec::Codec;
use crate::wire::compress::{Payload, Unreadable};
use crate::wire::envelope::{Fingerprint, Head, MUTABLE, Writer, open};
use crate::wire::hold;
use crate::wire::message::{self, Message, Targets};

const POSTCARD_SAMPLE: &str = "ac02 09416461204cc3b67665 000000000000f83f 0201f403 00 01f0a204 020190 03";
const BINCODE_SAMPLE: &str = "fb2c01 09416461204cc3b67665 000000000000f83f 0201fbf401 00 01fc70110100 0201fb9001";
const JSON_SAMPLE: &str = "7b226964223a3330302c 226e616d65223a22416461204cc3b67665222c 2273636f7265223a312e352c
    2273697a6573223a5b312c3530305d2c 226d697373696e67223a6e756c6c2c 2270726573656e74223a37303030302c
    226b696e64223a7b22506f696e74223a7b2278223a2d312c2279223a3230307d7d7d";
const MESSAGEPACK_SAMPLE: &str = "87 a26964 cd012c a46e616d65 a9416461204cc3b67665 a573636f7265 cb3ff8000000000000
    a573697a6573 9201cd01f4 a76d697373696e67 c0 a770726573656e74 ce00011170
    a46b696e64 81a5506f696e74 82a178ffa179ccc8";

/// Version 1, codec 1, two tags.
const ENVELOPE_V1_POSTCARD: &str = "f6 00112233445566778899aabbccddeeff 01 00 01 02
    00 018bcfe5687b 000493e0 003b8260 0000afc8 00000007 00060a2418202240
    002a a1b2c3d4e5f6 412ce330 0123456789abcdef fedcba9876543210";
/// Version 1, codec 2, two tags, marked expired.
const ENVELOPE_V1_BINCODE: &str = "f6 00112233445566778899aabbccddeeff 01 00 02 02
    01 018bcfe5687b 000493e0 003b8260 0000afc8 00000007 00060a2418202240
    002a a1b2c3d4e5f6 3f4954a8 0123456789abcdef fedcba9876543210";
/// Version 1, codec 3, two tags.
const ENVELOPE_V1_JSON: &str = "f6 00112233445566778899aabbccddeeff 01 00 03 02
    00 018bcfe5687b 000493e0 003b8260 0000afc8 00000007 00060a2418202240
    002a a1b2c3d4e5f6 8ebf3ebf 0123456789abcdef fedcba9876543210";
/// Version 1, codec 4, two tags.
const ENVELOPE_V1_MESSAGEPACK: &str = "f6 00112233445566778899aabbccddeeff 01 00 04 02
    00 018bcfe5687b 000493e0 003b8260 0000afc8 00000007 00060a2418202240
    002a a1b2c3d4e5f6 ebaf80dc 0123456789abcdef fedcba9876543210";
/// Version 1, negative, no tags, no refresh.
const ENVELOPE_V1_NEGATIVE: &str = "f6 00112233445566778899aabbccddeeff 01 01 01 00
    00 018bcfe5687b 000493e0 003b8260 00000000 00000007 00060a2418202240
    002a a1b2c3d4e5f6 84194d97";
/// Version 1, codec 1, no tags, no refresh, with a validator.
const ENVELOPE_V1_VALIDATOR: &str = "f6 00112233445566778899aabbccddeeff 01 08 01 00
    00 018bcfe5687b 000493e0 003b8260 00000000 00000007 00060a2418202240
    002a a1b2c3d4e5f6 8d2e9d62 08 3333613634646635";
/// Version 1, codec 1, no tags, no refresh: zstd, written by the program of that name, and LZ4, by its own.
const ENVELOPE_V1_ZSTD: &str = "f6 00112233445566778899aabbccddeeff 01 02 01 00
    00 018bcfe5687b 000493e0 003b8260 00000000 00000007 00060a2418202240
    002a a1b2c3d4e5f6 d84cc19e";
const ENVELOPE_V1_LZ4: &str = "f6 00112233445566778899aabbccddeeff 01 02 01 00
    00 018bcfe5687b 000493e0 003b8260 00000000 00000007 00060a2418202240
    002a a1b2c3d4e5f6 2329ad90";
const ZSTD_SAMPLE: &str = "01 0000070a 28b52ffd600a06b50100b402880e74686520717569636b2062726f776e20666f78206a756d7073206f76
    6572206c617a7920646f672c200200d842f52882554f";
const LZ4_SAMPLE: &str = "02 0000070a f012880e74686520717569636b2062726f776e20666f78206a756d7073206f766572201f00916c617a
    7920646f672c0e000f2d00ffffffffffffc550646f672c20";
const MESSAGE_V1: &str = "6374 01 00000007 00060a24181e4001 00060a2418202240
    81 00000014 0007 757365723a3432 0009 73747261c39f653a37
    82 00000010 0123456789abcdef fedcba9876543210
    83 00000008 1122334455667788
    84 00000000
    05 00000010 00112233445566778899aabbccddeeff";

/// A bump of one key that is stale and not gone.
const MESSAGE_V1_STALE: &str = "6374 01 00000007 00060a24181e4001 00060a2418202240
    81 00000009 0007 757365723a3432
    07 00000000";
/// A bump that says only that copies are to be doubted.
const MESSAGE_V1_DOUBT: &str = "6374 01 00000007 00060a24181e4001 00060a2418202240 86 00000000";

/// One guard, alone all the time.
const HOLD_V1_ALONE: &str = "f7 00 00112233445566778899aabbccddeeff 0000018bcfe5687b";
/// Two guards.
const HOLD_V1_SHARED: &str = "f7 01 00112233445566778899aabbccddeeff 0000018bcfe5687b
    ffeeddccbbaa99887766554433221100 0000018bcfe5ddab";

pub(super) const STAMP: Stamp = Stamp(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes());
pub(super) const TAGS: [TagHash; 2] = [TagHash(0x0123_4567_89ab_cdef), TagHash(0xfedc_ba98_7654_3210)];
pub(super) const HEAD: Head = Head {
    codec: 1,
    negative: false,
    compressed: false,
    expired: false,
    created: 1_700_000_000_123,
    soft: 300_000,
    hard: 3_900_000,
    refresh: 45_000,
    born: Point { era: Era(7), seq: Seq(1_700_000_000_123_456) },
    cost: 42,
    fingerprint: Fingerprint(0xa1b2_c3d4_e5f6),
};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Sample {
    id: u64,
    name: String,
    score: f64,
    sizes: Vec<u16>,
    missing: Option<String>,
    present: Option<u32>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Kind {
    Plain,
    Tagged(u8),
    Point { x: i32, y: i32 },
}

fn sample() -> Sample {
    Sample {
        id: 300,
        name: "Ada Löve".to_owned(),
        score: 1.5,
        sizes: vec![1, 500],
        missing: None,
        present: Some(70_000),
        kind: Kind::Point { x: -1, y: 200 },
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// The codecs of this build with their vectors: header and sample.
fn codecs() -> Vec<(Codec, &'static str, &'static str)> {
    [
        (1, ENVELOPE_V1_POSTCARD, POSTCARD_SAMPLE),
        (2, ENVELOPE_V1_BINCODE, BINCODE_SAMPLE),
        (3, ENVELOPE_V1_JSON, JSON_SAMPLE),
        (4, ENVELOPE_V1_MESSAGEPACK, MESSAGEPACK_SAMPLE),
    ]
    .into_iter()
    .filter_map(|(id, header, sample)| Some((Codec::of_id(id)?, header, sample)))
    .collect()
}

#[track_caller]
fn check_envelope(golden: &[u8], head: Head, (tags, validator): (&[TagHash], Option<&str>), payload: &[u8]) {
    let mut writer = Writer::begin(STAMP, &head, tags, validator).unwrap();
    writer.payload().extend_from_slice(payload);
    assert_eq!(writer.finish(), golden);
    let envelope = open(golden).unwrap();
    assert_eq!((envelope.stamp, envelope.head, envelope.validator), (STAMP, head, validator));
    assert_eq!(envelope.tags.collect::<Vec<_>>(), tags);
    assert_eq!(envelope.payload, payload);
}

#[test]
fn an_envelope_of_version_1_is_written_and_read_as_ever_with_each_codec() {
    for (codec, header, sample) in codecs() {
        let head = Head { codec: codec.id(), expired: codec.id() == 2, ..HEAD };
        check_envelope(&hex(&format!("{header} {sample}")), head, (&TAGS, None), &hex(sample));
    }
}

/// What a compressor makes of a value may change with its release; how it stands there, and that it is read, may not.
#[test]
fn a_compressed_envelope_of_version_1_is_written_and_read_as_ever_with_each_algorithm() {
    let rows = [(ENVELOPE_V1_ZSTD, ZSTD_SAMPLE, cfg!(feature = "zstd")), (ENVELOPE_V1_LZ4, LZ4_SAMPLE, cfg!(feature = "lz4"))];
    for (header, sample, known) in rows {
        let golden = hex(&format!("{header} {sample}"));
        check_envelope(&golden, Head { compressed: true, refresh: 0, ..HEAD }, (&[], None), &hex(sample));
        let payload = Payload::of(&open(&golden).unwrap());
        if !known {
            assert_eq!(payload, Err(Unreadable::Unknown));
            continue;
        }
        let payload = payload.unwrap();
        assert_eq!(payload.len(), 1_802);
        let text = "the quick brown fox jumps over the lazy dog, ".repeat(40);
        let plain = payload.plain().unwrap();
        assert_eq!(plain.strip_prefix(&hex("880e")[..]), Some(text.as_bytes()));
    }
}

#[test]
fn a_negative_envelope_of_version_1_is_written_and_read_as_ever() {
    check_envelope(&hex(ENVELOPE_V1_NEGATIVE), Head { negative: true, refresh: 0, ..HEAD }, (&[], None), &[]);
}

#[test]
fn an_envelope_of_version_1_with_a_validator_is_written_and_read_as_ever() {
    let golden = hex(&format!("{ENVELOPE_V1_VALIDATOR} {POSTCARD_SAMPLE}"));
    check_envelope(&golden, Head { refresh: 0, ..HEAD }, (&[], Some("33a64df5")), &hex(POSTCARD_SAMPLE));
}

#[test]
fn each_codec_writes_and_reads_a_value_as_ever() {
    for (codec, _, golden) in codecs() {
        let mut bytes = Vec::new();
        codec.encode(&sample(), &mut bytes).unwrap();
        assert_eq!(bytes, hex(golden), "{codec:?}");
        assert_eq!(codec.decode::<Sample>(&bytes).unwrap(), sample());
    }
}

#[test]
fn a_message_of_version_1_is_written_and_read_as_ever() {
    let targets = Targets {
        keys: vec!["user:42".to_owned(), "straße:7".to_owned()],
        tags: TAGS.to_vec(),
        prefixes: vec![TagHash(0x1122_3344_5566_7788)],
        all: true,
        doubt: false,
        stale: false,
    };
    let (era, previous, seq) = (Era(7), Seq(1_700_000_000_000_001), Seq(1_700_000_000_123_456));
    let mut bytes = message::head(era, previous, seq).to_vec();
    bytes.extend_from_slice(&message::body(&targets, Some(STAMP)));
    assert_eq!(bytes, hex(MESSAGE_V1));
    assert_eq!(message::read(&bytes), Ok(Message { era, previous, seq, targets, coming: Some(STAMP) }));
}

#[test]
fn a_message_of_doubt_is_written_and_read_as_ever() {
    let targets = Targets { doubt: true, ..Targets::default() };
    let (era, previous, seq) = (Era(7), Seq(1_700_000_000_000_001), Seq(1_700_000_000_123_456));
    let mut bytes = message::head(era, previous, seq).to_vec();
    bytes.extend_from_slice(&message::body(&targets, None));
    assert_eq!(bytes, hex(MESSAGE_V1_DOUBT));
    assert_eq!(message::read(&bytes), Ok(Message { era, previous, seq, targets, coming: None }));
}

#[test]
fn a_message_of_what_is_stale_is_written_and_read_as_ever() {
    let targets = Targets { keys: vec!["user:42".to_owned()], stale: true, ..Targets::default() };
    let (era, previous, seq) = (Era(7), Seq(1_700_000_000_000_001), Seq(1_700_000_000_123_456));
    let mut bytes = message::head(era, previous, seq).to_vec();
    bytes.extend_from_slice(&message::body(&targets, None));
    assert_eq!(bytes, hex(MESSAGE_V1_STALE));
    assert_eq!(message::read(&bytes), Ok(Message { era, previous, seq, targets, coming: None }));
}

#[test]
fn a_hold_of_version_1_is_written_and_read_as_ever() {
    let other = Stamp(0xffee_ddcc_bbaa_9988_7766_5544_3322_1100_u128.to_be_bytes());
    let records = [Record::new(STAMP, 1_700_000_000_123), Record::new(other, 1_700_000_030_123)];
    for (golden, touched, guards) in [(HOLD_V1_ALONE, false, 1), (HOLD_V1_SHARED, true, 2)] {
        let held = Hold { touched, records: records[..guards].to_vec() };
        assert_eq!(hold::write(&held), hex(golden));
        assert_eq!(hold::read(&hex(golden)), Some(held));
    }
}

#[test]
fn scripts_find_the_mutable_fields_where_they_are_told() {
    let mut bytes = hex(ENVELOPE_V1_NEGATIVE);
    bytes[21] = 1;
    bytes[22..28].copy_from_slice(&[0, 0, 0, 0, 1, 0]);
    bytes[28..32].copy_from_slice(&2_u32.to_be_bytes());
    bytes[32..36].copy_from_slice(&3_u32.to_be_bytes());
    bytes[36..40].copy_from_slice(&4_u32.to_be_bytes());
    bytes[40..44].copy_from_slice(&5_u32.to_be_bytes());
    bytes[44..52].copy_from_slice(&6_u64.to_be_bytes());
    assert_eq!(MUTABLE, 21..52);
    let head = open(&bytes).unwrap().head;
    let born = Point { era: Era(5), seq: Seq(6) };
    let expected = Head { negative: true, expired: true, created: 256, soft: 2, hard: 3, refresh: 4, born, ..HEAD };
    assert_eq!(head, expected);
}

#[test]
fn the_fingerprint_of_a_type_is_what_it_ever_was() {
    assert_eq!(Fingerprint::of::<u64>(), Fingerprint(0xd319_3e8d_66f2));
    assert_eq!(Fingerprint::of::<String>(), Fingerprint(0x6e91_21e0_2e46));
}

/// The worked examples of `docs/wire.md`, there for programs in other languages.
#[test]
fn the_hash_of_a_tag_and_its_cells_are_what_they_ever_were() {
    for (hash, expected, cells) in [
        (TagHash::of("shop", "users"), 0xfe93_fe81_9e6f_ff9a, [109_567, 109_184, 108_801, 108_418]),
        (TagHash::of_prefix("shop", "user:"), 0x5672_c26f_edf3_31b6, [224_460, 225_083, 221_610, 222_233]),
        (TagHash::of_prefix("shop", "user:7:"), 0x7483_3561_4aa0_ce6e, [190_515, 191_892, 189_173, 190_550]),
    ] {
        assert_eq!(hash, TagHash(expected));
        assert_eq!(hash.cells(1 << 18).collect::<Vec<_>>(), cells);
    }
}
