//! Points in time as log records carry them.
#![forbid(unsafe_code)]

use std::fmt;

/// Microseconds since 1970, UTC, leap seconds not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// The length of a written timestamp: `2026-11-22T03:31:46.123456Z`.
pub const WIDTH: usize = 27;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Years 1 to 9999, so that every one is [`WIDTH`] bytes wide and text order is time order.
const FIRST: i64 = -719_162 * DAY;
const LAST: i64 = 2_932_897 * DAY - 1;

impl Timestamp {
    /// Writes the fixed-width form; a time outside the years 1 to 9999 is moved to the nearest end.
    pub fn write(self, out: &mut Vec<u8>) {
        let micros = self.0.clamp(FIRST, LAST);
        let (days, within) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
        let (year, month, day) = date(days);
        let seconds = within / SECOND;
        digits(out, year, 4);
        for (mark, value) in [
            (b'-', month),
            (b'-', day),
            (b'T', seconds / 3600),
            (b':', seconds / 60 % 60),
            (b':', seconds % 60),
        ] {
            out.push(mark);
            digits(out, value, 2);
        }
        out.push(b'.');
        digits(out, within % SECOND, 6);
        out.push(b'Z');
    }

    /// Reads exactly what [`write`](Self::write) writes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: &[u8; WIDTH] = text.try_into().ok()?;
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        let marked = marks.iter().all(|(at, mark)| text.get(*at) == Some(mark));
        if !marked || text.get(19) != Some(&b'.') || text.get(26) != Some(&b'Z') {
            return None;
        }
        let number = |from: usize, to: usize| {
            text.get(from..to)?.iter().try_fold(0_i64, |sum, byte| {
                byte.is_ascii_digit()
                    .then(|| sum * 10 + i64::from(byte - b'0'))
            })
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || year == 0
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let within = ((hour * 60 + minute) * 60 + second) * SECOND + number(20, 26)?;
        Some(Self(days(year, month, day) * DAY + within))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(WIDTH);
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

fn digits(out: &mut Vec<u8>, value: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = value / 10_i64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

/// Days since 1970 to year, month, day: years begin in March, so that the leap day is the last.
/// The Gregorian calendar repeats every 146,097 days.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year_of_era + carry, month, day)
}

/// The inverse of [`date`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_written_time_is_read_back_and_jiff_agrees(micros in FIRST..=LAST) {
            let time = Timestamp(micros);
            let text = time.to_string();
            prop_assert_eq!(text.len(), WIDTH);
            prop_assert_eq!(Timestamp::parse(text.as_bytes()), Some(time));
            let theirs = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(format!("{theirs:.6}"), text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(time) = Timestamp::parse(&bytes) {
                prop_assert_eq!(bytes.len(), time.to_string().len());
            }
        }
    }

    #[test]
    fn known_times() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            Timestamp(1_795_318_306_123_456).to_string(),
            "2026-11-22T03:31:46.123456Z"
        );
        assert_eq!(
            Timestamp(i64::MAX).to_string(),
            "9999-12-31T23:59:59.999999Z"
        );
    }
}
