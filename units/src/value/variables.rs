//! `$VAR` and `${VAR}` in commands, expanded at launch as systemd.service(5) has it.
#![forbid(unsafe_code)]

use super::environment::is_variable_name;
use super::words::split_words;

/// Expands the arguments; the program itself (the first word) is left alone.
///
/// `$VAR` as a word of its own becomes as many words as its value has (none when unset; quotes in
/// the value hold words together). `${VAR}` is put in place and never splits. `$$` is `$`.
pub fn expand_variables<'v>(
    argv: &[String],
    lookup: impl Fn(&str) -> Option<&'v str>,
) -> Vec<String> {
    let mut expanded = Vec::with_capacity(argv.len());
    for (position, word) in argv.iter().enumerate() {
        if position == 0 || !word.contains('$') {
            expanded.push(word.clone());
            continue;
        }
        match word.strip_prefix('$').filter(|name| is_variable_name(name)) {
            Some(name) => expanded.extend(words(lookup(name).unwrap_or_default())),
            None => expanded.push(in_place(word, &lookup)),
        }
    }
    expanded
}

/// Words as a shell splits them; a value with an open quote is split at blanks alone.
fn words(value: &str) -> Vec<String> {
    split_words(value).unwrap_or_else(|| value.split_whitespace().map(str::to_owned).collect())
}

fn in_place<'v>(word: &str, lookup: &impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let named = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
            .filter(|(name, _)| is_variable_name(name));
        match named {
            Some((name, after)) => {
                out.push_str(lookup(name).unwrap_or_default());
                rest = after;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expand(words: &[&str]) -> Vec<String> {
        let argv: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        expand_variables(&argv, |name| match name {
            "ONE" => Some("one"),
            "TWO" => Some("two two"),
            "QUOTED" => Some("'a b' c"),
            "OPEN" => Some("a 'b"),
            _ => None,
        })
    }

    #[test]
    fn a_word_of_its_own_splits_and_braces_never_do() {
        assert_eq!(expand(&["x", "$TWO"]), ["x", "two", "two"]);
        assert_eq!(expand(&["x", "${TWO}"]), ["x", "two two"]);
        assert_eq!(expand(&["x", "a${ONE}b${TWO}"]), ["x", "aonebtwo two"]);
        assert_eq!(expand(&["x", "$QUOTED"]), ["x", "a b", "c"]);
        assert_eq!(expand(&["x", "$OPEN"]), ["x", "a", "'b"]);
    }

    #[test]
    fn what_is_unset_vanishes_or_is_empty() {
        assert_eq!(expand(&["x", "$NOPE", "y"]), ["x", "y"]);
        assert_eq!(expand(&["x", "${NOPE}", "y"]), ["x", "", "y"]);
    }

    #[test]
    fn two_dollars_are_one_and_others_stay() {
        assert_eq!(expand(&["x", "$$ONE"]), ["x", "$ONE"]);
        assert_eq!(expand(&["x", "a$ONE"]), ["x", "a$ONE"]);
        assert_eq!(expand(&["x", "${ONE"]), ["x", "${ONE"]);
        assert_eq!(expand(&["$ONE", "$"]), ["$ONE", "$"]);
    }

    proptest! {
        #[test]
        fn words_without_a_dollar_stay(words in proptest::collection::vec("[^$]*", 0..6)) {
            prop_assert_eq!(expand_variables(&words, |_| None), words);
        }

        #[test]
        fn no_text_makes_it_panic(words in proptest::collection::vec("[$A{} '\"\\\\]*", 0..6)) {
            expand_variables(&words, |_| Some("$A 'x"));
        }
    }
}
