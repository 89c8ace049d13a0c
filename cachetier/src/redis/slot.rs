//! Which slot of a Cluster a name belongs to.

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

#[cfg(test)]
mod tests {
    use super::*;

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
