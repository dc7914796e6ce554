//! Environment assignments: `NAME=value`.
#![forbid(unsafe_code)]

/// A name as a shell takes it: letters, digits and `_`, not beginning with a digit.
pub fn is_variable_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Name and value of `NAME=value`; `None` when it is no assignment.
pub fn parse_assignment(text: &str) -> Option<(&str, &str)> {
    text.split_once('=')
        .filter(|(name, value)| is_variable_name(name) && !value.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_equals_sign_splits() {
        assert_eq!(parse_assignment("A=b=c"), Some(("A", "b=c")));
        assert_eq!(parse_assignment("A="), Some(("A", "")));
        assert_eq!(parse_assignment("A"), None);
        assert_eq!(parse_assignment("1A=x"), None);
        assert_eq!(parse_assignment("=x"), None);
    }

    proptest! {
        #[test]
        fn assignments_read_back(name in "[A-Za-z_][A-Za-z0-9_]{0,20}", value in "\\PC*") {
            let text = format!("{name}={value}");
            prop_assert_eq!(parse_assignment(&text), Some((name.as_str(), value.as_str())));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            parse_assignment(&text);
        }
    }
}
