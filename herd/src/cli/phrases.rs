//! Times and sizes in words.
#![forbid(unsafe_code)]

use jiff::tz::TimeZone;

/// `Sun 2026-11-22 03:31:46 UTC`, in the zone of the machine.
pub(super) fn moment(micros: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_microsecond(micros) else {
        return "an unknown time".to_owned();
    };
    let zoned = time.to_zoned(TimeZone::system());
    zoned.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `3min 5s ago`, or `in 3.2s`.
pub(super) fn relative(micros: i64, now: i64) -> String {
    let age = now.saturating_sub(micros);
    if age < 0 {
        format!("in {}", duration(age.saturating_neg()))
    } else {
        format!("{} ago", duration(age))
    }
}

/// The two greatest units of a duration in microseconds: `2d 3h`, `5s`, `120ms`.
pub(super) fn duration(micros: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (604_800_000_000, "w"),
        (86_400_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "min"),
        (1_000_000, "s"),
    ];
    let micros = micros.max(0);
    if (1_000_000..10_000_000).contains(&micros) {
        let tenths = micros / 100_000;
        return if tenths % 10 == 0 {
            format!("{}s", tenths / 10)
        } else {
            format!("{}.{}s", tenths / 10, tenths % 10)
        };
    }
    if micros < 1_000_000 {
        return format!("{}ms", micros / 1000);
    }
    let mut rest = micros;
    let mut parts = Vec::new();
    for (length, word) in UNITS {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            parts.push(format!("{count}{word}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// A short time as precisely as it matters: `0.42ms`, `12.3ms`, `1.204s`, `1min 5s`.
pub(super) fn span(micros: i64) -> String {
    let micros = micros.max(0);
    match micros {
        0..1_000 => format!("0.{:02}ms", micros / 10),
        1_000..1_000_000 => format!("{}.{}ms", micros / 1_000, micros / 100 % 10),
        1_000_000..60_000_000 => {
            format!("{}.{:03}s", micros / 1_000_000, micros / 1_000 % 1_000)
        }
        _ => duration(micros),
    }
}

/// `12.3M`, in powers of 1024.
pub(super) fn size(bytes: i64) -> String {
    const WORDS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{}B", bytes.max(0));
    }
    let mut tenths = i128::from(bytes) * 10 / 1024;
    let mut word = "K";
    for larger in WORDS.iter().skip(1) {
        if tenths < 10 * 1024 {
            break;
        }
        tenths /= 1024;
        word = larger;
    }
    format!("{}.{}{word}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_greatest_units() {
        let cases = [
            (0, "0ms"),
            (1_500, "1ms"),
            (1_000_000, "1s"),
            (3_240_000, "3.2s"),
            (59_900_000, "59s"),
            (60_000_000, "1min"),
            (185_000_000, "3min 5s"),
            (3_600_000_000, "1h"),
            (3_605_000_000, "1h"),
            (90_061_000_000, "1d 1h"),
            (i64::MAX, "15250284w 3d"),
        ];
        for (micros, text) in cases {
            assert_eq!(duration(micros), text);
        }
        assert_eq!(relative(0, 5_000_000), "5s ago");
        assert_eq!(relative(5_000_000, 0), "in 5s");
    }

    #[test]
    fn short_times_are_precise() {
        let cases = [
            (0, "0.00ms"),
            (420, "0.42ms"),
            (12_345, "12.3ms"),
            (1_204_999, "1.204s"),
            (59_999_999, "59.999s"),
            (65_000_000, "1min 5s"),
        ];
        for (micros, text) in cases {
            assert_eq!(span(micros), text);
        }
    }

    #[test]
    fn sizes_are_short() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (12_900_000, "12.3M"),
            (1 << 30, "1.0G"),
            (i64::MAX, "8191.9P"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }
}
