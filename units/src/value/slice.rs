//! Names of slices, the groups that units share: `apps`, `apps-web`.
#![forbid(unsafe_code)]

use crate::name::UnitName;

/// The slice in a text, with or without systemd's `.slice`. Dashes nest: `apps-web` lies in `apps`.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse_slice(text: &str) -> Result<Box<str>, String> {
    let name = text.strip_suffix(".slice").unwrap_or(text);
    if let Err(problem) = UnitName::new(name) {
        return Err(format!("{text:?} is no slice: {problem}"));
    }
    if name.split('-').any(str::is_empty) {
        return Err(format!(
            "{text:?} is no slice: a part between dashes is empty"
        ));
    }
    Ok(name.into())
}

/// The slice and those it lies in, the outermost first: `a`, `a-b`, `a-b-c`.
pub fn slices_above(slice: &str) -> impl Iterator<Item = &str> {
    let ends = slice.match_indices('-').map(|(end, _)| end);
    ends.chain([slice.len()]).filter_map(|end| slice.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_nest() {
        assert_eq!(&*parse_slice("a-b-c.slice").unwrap(), "a-b-c");
        let all: Vec<&str> = slices_above("a-b-c").collect();
        assert_eq!(all, ["a", "a-b", "a-b-c"]);
        assert_eq!(slices_above("one").collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn what_is_no_slice_is_told() {
        for (text, why) in [
            ("", "\"\" is no slice: a unit name cannot be empty"),
            ("-", "\"-\" is no slice: a unit name cannot begin with '-'"),
            (
                "a--b",
                "\"a--b\" is no slice: a part between dashes is empty",
            ),
            (
                "a/b",
                "\"a/b\" is no slice: a unit name cannot hold '/'; letters, digits and _ - . : \\ @ \
                 are allowed",
            ),
        ] {
            assert_eq!(parse_slice(text).unwrap_err(), why);
        }
    }
}
