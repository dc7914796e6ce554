//! Durations as people write them: `"1.5s"`, `"2min"`, `"1h 30min"`, `"infinity"`.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Longer durations are refused: some 584 years, what a `u64` of nanoseconds holds.
const LONGEST: u128 = u64::MAX as u128;

const SECOND: u128 = 1_000_000_000;

/// The words of `systemd.time(7)`; a month is 30.44 days and a year 365.25, as there.
const UNITS: [(&str, u128); 29] = [
    ("ns", 1),
    ("nsec", 1),
    ("us", 1_000),
    ("usec", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("msec", 1_000_000),
    ("s", SECOND),
    ("sec", SECOND),
    ("second", SECOND),
    ("seconds", SECOND),
    ("m", 60 * SECOND),
    ("min", 60 * SECOND),
    ("minute", 60 * SECOND),
    ("minutes", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("hr", 3_600 * SECOND),
    ("hour", 3_600 * SECOND),
    ("hours", 3_600 * SECOND),
    ("d", 86_400 * SECOND),
    ("day", 86_400 * SECOND),
    ("days", 86_400 * SECOND),
    ("w", 604_800 * SECOND),
    ("week", 604_800 * SECOND),
    ("weeks", 604_800 * SECOND),
    ("month", 2_630_016 * SECOND),
    ("months", 2_630_016 * SECOND),
    ("year", 31_557_600 * SECOND),
    ("years", 31_557_600 * SECOND),
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("a duration cannot be empty")]
    Empty,
    #[error("a duration needs a unit")]
    NoUnit,
    #[error("{0:?} is no unit of time")]
    Unit(String),
    #[error("{0:?} is no number")]
    Number(String),
    #[error("the duration is too long")]
    TooLong,
}

/// `None` is `infinity`.
///
/// # Errors
/// [`DurationError`] says which part is wrong.
pub fn parse_duration(text: &str) -> Result<Option<Duration>, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    if rest == "infinity" {
        return Ok(None);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let split = |s: &str, inside: fn(char) -> bool| {
            s.find(|c| !inside(c)).map_or(s.len(), |position| position)
        };
        let (number, after) = rest.split_at(split(rest, |c| c.is_ascii_digit() || c == '.'));
        let after = after.trim_start();
        let (unit, after) = after.split_at(split(after, char::is_alphabetic));
        if number.is_empty() {
            let word = if unit.is_empty() { after } else { unit };
            return Err(DurationError::Number(word.to_owned()));
        }
        if unit.is_empty() {
            return match after.chars().next() {
                None => Err(DurationError::NoUnit),
                Some(_) => Err(DurationError::Number(after.to_owned())),
            };
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::Unit(unit.to_owned()));
        };
        let part = scaled(number, *scale)?;
        total = total
            .checked_add(part)
            .filter(|sum| *sum <= LONGEST)
            .ok_or(DurationError::TooLong)?;
        rest = after.trim_start();
    }
    u64::try_from(total)
        .map(|nanoseconds| Some(Duration::from_nanos(nanoseconds)))
        .map_err(|_| DurationError::TooLong)
}

/// The shortest words that [`parse_duration`] reads back as the same duration.
pub fn format_duration(duration: Option<Duration>) -> String {
    let Some(duration) = duration else {
        return "infinity".to_owned();
    };
    let mut rest = duration.as_nanos();
    let mut parts = Vec::new();
    for (unit, scale) in [
        ("d", 86_400 * SECOND),
        ("h", 3_600 * SECOND),
        ("min", 60 * SECOND),
        ("s", SECOND),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if rest >= scale {
            parts.push(format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

/// `number` (digits with at most one point) times `scale`; digits beyond a nanosecond are cut.
fn scaled(number: &str, scale: u128) -> Result<u128, DurationError> {
    let wrong = || DurationError::Number(number.to_owned());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(wrong());
    }
    let whole: u128 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| DurationError::TooLong)?,
    };
    let mut value = whole.checked_mul(scale).ok_or(DurationError::TooLong)?;
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        value = value
            .checked_add(place * u128::from(digit - b'0'))
            .ok_or(DurationError::TooLong)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(text: &str) -> Option<u128> {
        parse_duration(text).unwrap().map(|d| d.as_millis())
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(millis("1.5s"), Some(1_500));
        assert_eq!(millis("2min"), Some(120_000));
        assert_eq!(millis("1h 30min"), Some(5_400_000));
        assert_eq!(millis("1h30min"), Some(5_400_000));
        assert_eq!(millis("500 ms"), Some(500));
        assert_eq!(millis("infinity"), None);
        assert_eq!(millis("0s"), Some(0));
    }

    #[test]
    fn a_bare_number_and_an_unknown_unit_are_refused() {
        assert_eq!(parse_duration("5"), Err(DurationError::NoUnit));
        assert_eq!(
            parse_duration("5 parsecs"),
            Err(DurationError::Unit("parsecs".to_owned()))
        );
        assert_eq!(parse_duration(" "), Err(DurationError::Empty));
        assert!(parse_duration("1.2.3s").is_err());
        assert!(parse_duration(".s").is_err());
        assert!(parse_duration("-1s").is_err());
        assert_eq!(
            parse_duration("9999999y"),
            Err(DurationError::Unit("y".to_owned()))
        );
        assert_eq!(parse_duration("9999999years"), Err(DurationError::TooLong));
        assert!(parse_duration(&format!("{}s", "9".repeat(60))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_formatted_reads_back(nanoseconds in any::<u64>()) {
            let duration = Some(Duration::from_nanos(nanoseconds));
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            drop(parse_duration(&text));
        }

        #[test]
        fn no_text_of_its_own_letters_makes_it_panic(text in "[0-9. smhinuµ]*") {
            drop(parse_duration(&text));
        }
    }
}
