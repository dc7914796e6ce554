//! Splitting a command into words as a shell does: blanks, quotes, backslashes; nothing else.
#![forbid(unsafe_code)]

/// The words; `None` when a quote is left open. A `#` begins no comment: nothing of a command may
/// be dropped silently.
pub fn split_words(text: &str) -> Option<Vec<String>> {
    if !text.contains('#') {
        return shlex::split(text);
    }
    // shlex takes `#` for a comment, so it gets to see a character of private use instead.
    let stand_in = ('\u{e000}'..='\u{f8ff}').find(|c| !text.contains(*c))?;
    let words = shlex::split(&text.replace('#', stand_in.encode_utf8(&mut [0; 4])))?;
    let restored = words.iter().map(|word| word.replace(stand_in, "#"));
    Some(restored.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_split_at_blanks_but_not_inside_quotes() {
        let words = split_words(r#"a 'b c' "d \"e" f\ g '' #h"#).unwrap();
        assert_eq!(words, ["a", "b c", "d \"e", "f g", "", "#h"]);
        assert_eq!(split_words("a 'b"), None);
        assert_eq!(split_words("  "), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn quoted_words_read_back(words in prop::collection::vec("[^\0]*", 0..6)) {
            let text = shlex::try_join(words.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(split_words(&text), Some(words));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            split_words(&text);
        }
    }
}
