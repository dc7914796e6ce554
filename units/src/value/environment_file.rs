//! Environment files, in the syntax of `EnvironmentFile=` (systemd.exec(5)).
//!
//! Lines are `NAME=value`. Blank lines and lines that begin with `#` or `;` are passed over. A
//! value may stand in single quotes (taken as it is) or double quotes (`\` before `"`, `\`, `` ` ``
//! and `$` is dropped), may go on over lines inside the quotes, and several pieces may follow one
//! another. Outside quotes a `\` keeps the next character, at the end of a line it joins the next.
#![forbid(unsafe_code)]

use super::environment::is_variable_name;

/// What a file says, and the lines that say nothing (from 1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvironmentText {
    pub assignments: Vec<(String, String)>,
    pub ignored_lines: Vec<usize>,
}

pub fn parse_environment_file(text: &str) -> EnvironmentText {
    let mut parsed = EnvironmentText::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut input = Input {
        rest: text.chars().peekable(),
        line: 1,
    };
    while let Some(&first) = input.rest.peek() {
        match first {
            '\n' | '\r' | ' ' | '\t' => {
                input.next();
            }
            '#' | ';' => input.skip_comment(),
            _ => {
                let line = input.line;
                match input.assignment() {
                    Some((name, value)) if is_variable_name(&name) && !value.contains('\0') => {
                        parsed.assignments.push((name, value));
                    }
                    Some(_) | None => parsed.ignored_lines.push(line),
                }
            }
        }
    }
    parsed
}

struct Input<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl Input<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    fn skip_comment(&mut self) {
        while let Some(c) = self.next() {
            match c {
                '\n' => return,
                '\\' => {
                    self.next();
                }
                _ => {}
            }
        }
    }

    /// `None` when the line has no `=`.
    fn assignment(&mut self) -> Option<(String, String)> {
        let mut name = String::new();
        loop {
            match self.next() {
                Some('=') => break,
                Some('\n') | None => return None,
                Some(c) => name.push(c),
            }
        }
        while self.rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        let value = self.value();
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim_start);
        Some((name.to_owned(), value))
    }

    fn value(&mut self) -> String {
        let mut value = String::new();
        // What was quoted or escaped stays even if it is blank.
        let mut kept = 0;
        while let Some(c) = self.next() {
            match c {
                '\n' => break,
                '\r' if matches!(self.rest.peek(), Some('\n') | None) => {}
                '\\' => {
                    match self.next() {
                        Some('\n') | None => {}
                        Some(escaped) => value.push(escaped),
                    }
                    kept = value.len();
                }
                '\'' => {
                    while let Some(inside) = self.next().filter(|c| *c != '\'') {
                        value.push(inside);
                    }
                    kept = value.len();
                }
                '"' => {
                    self.double_quoted(&mut value);
                    kept = value.len();
                }
                plain => value.push(plain),
            }
        }
        let trimmed = value.trim_end_matches([' ', '\t']).len();
        value.truncate(trimmed.max(kept));
        value
    }

    fn double_quoted(&mut self, value: &mut String) {
        while let Some(c) = self.next() {
            match c {
                '"' => return,
                '\\' => match self.next() {
                    Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                    Some('\n') | None => {}
                    Some(other) => value.extend(['\\', other]),
                },
                inside => value.push(inside),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_environment_file(text).assignments
    }

    fn one(text: &str) -> String {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{text:?} gave {all:?}");
        all.remove(0).1
    }

    #[test]
    fn plain_lines_and_comments() {
        let text = "# a comment\n; another\n\nA=1\n  B = two words  \nC=\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "")];
        let expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn quotes_keep_blanks_and_newlines() {
        assert_eq!(one("A='  x $y \\ '"), "  x $y \\ ");
        assert_eq!(one("A=\"one\ntwo\""), "one\ntwo");
        assert_eq!(one(r#"A="say \"hi\" \$HOME \n""#), r#"say "hi" $HOME \n"#);
        assert_eq!(one(r#"A='one'" two"three"#), "one twothree");
        assert_eq!(one("A=\"\"  "), "");
    }

    #[test]
    fn a_backslash_joins_lines_and_keeps_characters() {
        assert_eq!(one("A=one \\\ntwo"), "one two");
        assert_eq!(one("A=a\\ b\\\\"), "a b\\");
        assert_eq!(one("A=x\\ "), "x ");
        assert_eq!(one("# comment \\\nstill comment\nA=1"), "1");
    }

    #[test]
    fn lines_that_assign_nothing_are_told() {
        let parsed = parse_environment_file("A=1\nnonsense\n1B=2\n\nC=3");
        assert_eq!(parsed.ignored_lines, [2, 3]);
        assert_eq!(parsed.assignments.len(), 2);
    }

    #[test]
    fn a_hash_inside_a_value_is_no_comment() {
        assert_eq!(one("A=a#b ;c"), "a#b ;c");
        assert_eq!(one("A=1\r\n"), "1");
        assert_eq!(one("export A=1"), "1");
    }

    proptest! {
        #[test]
        fn a_single_quoted_value_reads_back(value in "[^'\0]*") {
            prop_assert_eq!(one(&format!("A='{value}'\n")), value);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            parse_environment_file(&text);
        }

        #[test]
        fn no_text_of_its_own_letters_makes_it_panic(text in "[A=\"'\\\\#; \n]*") {
            parse_environment_file(&text);
        }
    }
}
