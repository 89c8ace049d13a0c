//! Which slot of a Cluster a name belongs to, and what the parts of a namespace are called so that their slots are spread evenly.

use crate::key::PARTS;

/// How many slots a Cluster has.
const SLOTS: usize = 16_384;

/// What CRC16 divides by: x^16 + x^12 + x^5 + 1.
const POLYNOMIAL: u16 = 0x1021;

/// The slot of a name: by what stands between its first `{` and the next `}`, if anything does, else by all of it.
pub(crate) fn of(name: &[u8]) -> u16 {
    let tag = || {
        let open = name.iter().position(|byte| *byte == b'{')?;
        let rest = name.get(open.checked_add(1)?..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    };
    let crc = tag().unwrap_or(name).iter().fold(0_u16, |crc, byte| {
        let with = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(with, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL })
    });
    crc & 0x3fff
}

/// What a part of a namespace is called: the namespace, a dot, and the smallest number with which that belongs to a slot of the part's share of them all.
pub(crate) fn name_of_part(namespace: &str, part: usize) -> String {
    let name = |number: u32| format!("{namespace}.{number}");
    let belongs = |name: &String| usize::from(of(name.as_bytes())) * PARTS / SLOTS == part;
    // One in six does: that none of so many does comes to pass for nobody.
    (0..10_000).map(name).find(belongs).unwrap_or_else(|| name(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_namespace_are_spread_evenly_and_called_as_ever() {
        // What the values and lanes of a deployment are called by: never changed.
        let names: Vec<String> = (0..PARTS).map(|part| name_of_part("shop", part)).collect();
        assert_eq!(names, ["shop.1", "shop.12", "shop.0", "shop.3", "shop.10", "shop.2"]);
        for namespace in ["a", "shop", "a-rather.long:namespace", "shop.0"] {
            for part in 0..PARTS {
                let slot = usize::from(of(name_of_part(namespace, part).as_bytes()));
                assert!((part * SLOTS..(part + 1) * SLOTS).contains(&(slot * PARTS)), "{namespace} {part} {slot}");
            }
        }
    }

    #[test]
    fn a_name_has_the_slot_that_a_server_gives_it() {
        // As `CLUSTER KEYSLOT` of Redis 7.0.15 says.
        for (name, slot) in [
            ("", 0),
            ("foo", 12_182),
            ("123456789", 12_739),
            ("{user1000}.following", 3_443),
            ("{user1000}.followers", 3_443),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
            ("ct:{shop}:lane", 3_808),
        ] {
            assert_eq!(of(name.as_bytes()), slot, "{name}");
        }
    }
}
