//! CPU time in percent of one core: `"150%"`.
#![forbid(unsafe_code)]

/// 1 to 1,000,000; whole percents. `None` when the text is no such percentage.
pub fn parse_percent(text: &str) -> Option<u32> {
    text.trim()
        .strip_suffix('%')?
        .trim_end()
        .parse::<u32>()
        .ok()
        .filter(|percent| (1..=1_000_000).contains(percent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_percentage_has_its_sign() {
        assert_eq!(parse_percent("150%"), Some(150));
        assert_eq!(parse_percent("150"), None);
        assert_eq!(parse_percent("0%"), None);
        assert_eq!(parse_percent("-5%"), None);
    }

    proptest! {
        #[test]
        fn percentages_read_back(percent in 1..=1_000_000u32) {
            prop_assert_eq!(parse_percent(&format!("{percent}%")), Some(percent));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            parse_percent(&text);
        }
    }
}
