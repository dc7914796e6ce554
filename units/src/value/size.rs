//! Sizes and amounts: `"256M"` (binary), `"50%"` of the machine, `"infinity"`.
#![forbid(unsafe_code)]

use sandbox::config::Amount;

const UNITS: [(&str, u64); 6] = [
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("P", 1 << 50),
    ("E", 1 << 60),
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("a size cannot be empty")]
    Empty,
    #[error("{0:?} is no number")]
    Number(String),
    #[error("{0:?} is no unit of size")]
    Unit(String),
    #[error("the size is too large")]
    TooLarge,
    #[error("a share is 1% to 100%")]
    Share,
}

/// Bytes: digits with an optional `K M G T P E`, each 1,024 times the one before.
///
/// # Errors
/// [`SizeError`] says which part is wrong.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(SizeError::Empty);
    }
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return Err(SizeError::Number(text.to_owned()));
    }
    let unit = unit.trim_start();
    let scale = match unit {
        "" | "B" => 1,
        _ => {
            let letter = unit
                .strip_suffix("iB")
                .or_else(|| unit.strip_suffix('B'))
                .unwrap_or(unit);
            UNITS
                .iter()
                .find(|(name, _)| *name == letter)
                .map(|(_, scale)| *scale)
                .ok_or_else(|| SizeError::Unit(unit.to_owned()))?
        }
    };
    scaled(number, scale)
}

/// A size, a share of the machine, or `infinity`.
///
/// # Errors
/// [`SizeError`] says which part is wrong.
pub fn parse_amount(text: &str) -> Result<Amount, SizeError> {
    let text = text.trim();
    if text == "infinity" {
        return Ok(Amount::Infinity);
    }
    match text.strip_suffix('%') {
        Some(share) => share
            .trim_end()
            .parse::<u8>()
            .ok()
            .filter(|share| (1..=100).contains(share))
            .map(Amount::Percent)
            .ok_or(SizeError::Share),
        None => parse_size(text).map(Amount::Exactly),
    }
}

/// The shortest text that [`parse_size`] reads back as the same number.
pub fn format_size(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .rev()
        .find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale));
    match unit {
        Some((name, scale)) => format!("{}{name}", bytes / scale),
        None => bytes.to_string(),
    }
}

fn scaled(number: &str, scale: u64) -> Result<u64, SizeError> {
    let wrong = || SizeError::Number(number.to_owned());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| match whole.contains('.') {
        true => wrong(),
        false => SizeError::TooLarge,
    })?;
    let whole = whole.checked_mul(scale).ok_or(SizeError::TooLarge)?;
    let mut part: u64 = 0;
    if !fraction.is_empty() {
        if scale == 1 || fraction.len() > 9 || fraction.contains('.') {
            return Err(wrong());
        }
        let digits: u128 = fraction.parse().map_err(|_| wrong())?;
        let ten = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        part = u64::try_from(digits * u128::from(scale) / ten).map_err(|_| SizeError::TooLarge)?;
    }
    whole.checked_add(part).ok_or(SizeError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("256M"), Ok(256 << 20));
        assert_eq!(parse_size("1.5G"), Ok(3 << 29));
        assert_eq!(parse_size("64 KiB"), Ok(64 << 10));
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_amount("50%"), Ok(Amount::Percent(50)));
        assert_eq!(parse_amount("infinity"), Ok(Amount::Infinity));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(parse_size("16E"), Err(SizeError::TooLarge));
        assert_eq!(parse_size("1m"), Err(SizeError::Unit("m".to_owned())));
        assert_eq!(parse_amount("0%"), Err(SizeError::Share));
        assert_eq!(parse_amount("101%"), Err(SizeError::Share));
        assert_eq!(parse_size(""), Err(SizeError::Empty));
        assert!(parse_size("1.5").is_err());
        assert!(parse_size("1..5M").is_err());
        assert!(parse_size("-1").is_err());
    }

    proptest! {
        #[test]
        fn what_is_formatted_reads_back(bytes in any::<u64>(), shift in 0..64u32) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            drop(parse_amount(&text));
        }

        #[test]
        fn no_text_of_its_own_letters_makes_it_panic(text in "[0-9.KMGTPEiB%]*") {
            drop(parse_amount(&text));
        }
    }
}
