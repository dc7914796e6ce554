//! Numbers as C's `strtol` family reads them: bubblewrap's own reading, down to its odd corners.
#![forbid(unsafe_code)]

/// Leading white space and a sign; then where the digits start.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    let start = text
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))
        .unwrap_or(text.len());
    match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    }
}

/// The magnitude of all of `digits`, or `None` if one is none of this base or there is none.
/// What is too large stays at the largest.
fn magnitude(digits: &[u8], base: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(base)?;
        Some(sum.saturating_mul(base.into()).saturating_add(digit.into()))
    })
}

/// A whole number that is not negative once cut to an `int` as C does it: descriptors and ids.
pub fn natural(text: &[u8]) -> Option<i32> {
    let (negative, digits) = sign(text);
    let magnitude = magnitude(digits, 10)?;
    let long = match i64::try_from(magnitude) {
        Ok(number) if negative => -number,
        Ok(number) => number,
        Err(_) if negative => i64::MIN,
        Err(_) => i64::MAX,
    };
    #[expect(clippy::cast_possible_truncation, reason = "the cut is the point")]
    let number = long as i32;
    (number >= 0).then_some(number)
}

/// Permissions: octal, at most 07777.
pub fn permissions(text: &[u8]) -> Option<u32> {
    let (negative, digits) = sign(text);
    let magnitude = magnitude(digits, 8)?;
    let number = if negative {
        magnitude.wrapping_neg()
    } else {
        magnitude
    };
    u32::try_from(number).ok().filter(|mode| *mode <= 0o7777)
}

/// A number of bytes: decimal, `0x…` or `0…`; neither sign nor space, and not zero.
pub fn bytes(text: &[u8]) -> Option<u64> {
    let (base, digits) = match text {
        [b'0', b'x' | b'X', digits @ ..] => (16, digits),
        [b'0', digits @ ..] if !digits.is_empty() => (8, digits),
        digits => (10, digits),
    };
    let text = std::str::from_utf8(digits).ok()?;
    if !text.starts_with(|first: char| first.is_digit(base)) {
        return None;
    }
    u64::from_str_radix(text, base)
        .ok()
        .filter(|number| *number != 0)
}

/// A size of ours: bytes, or with a suffix K, M, G, T (powers of 1024).
pub fn size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 10),
        [digits @ .., b'M' | b'm'] => (digits, 20),
        [digits @ .., b'G' | b'g'] => (digits, 30),
        [digits @ .., b'T' | b't'] => (digits, 40),
        digits => (digits, 0),
    };
    count(digits)?.checked_mul(1 << shift)
}

/// A plain decimal number.
pub fn count(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read_as_strtol_reads_them() {
        for (text, number) in [
            ("3", Some(3)),
            ("0", Some(0)),
            (" 7", Some(7)),
            ("+7", Some(7)),
            ("-0", Some(0)),
            ("007", Some(7)),
            ("", None),
            ("-", None),
            ("7 ", None),
            ("-1", None),
            ("0x3", None),
            ("seven", None),
            // Cut to 32 bits.
            ("4294967299", Some(3)),
            ("2147483648", None),
            // Too large for a long: −1 once cut.
            ("99999999999999999999", None),
        ] {
            assert_eq!(natural(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn permissions_are_octal_and_bounded() {
        for (text, mode) in [
            ("0755", Some(0o755)),
            ("7777", Some(0o7777)),
            ("10000", None),
            ("8", None),
            ("", None),
            ("-1", None),
            (" 644", Some(0o644)),
            ("644x", None),
        ] {
            assert_eq!(permissions(text.as_bytes()), mode, "{text:?}");
        }
    }

    #[test]
    fn bytes_take_three_bases_and_no_sign() {
        for (text, number) in [
            ("1", Some(1)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("0", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            (" 1", None),
            ("0x", None),
            ("08", None),
            ("1M", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
        ] {
            assert_eq!(bytes(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size(b"64M"), Some(64 << 20));
        assert_eq!(size(b"1"), Some(1));
        assert_eq!(size(b"M"), None);
        assert_eq!(size(b"99999999999999T"), None);
    }
}
