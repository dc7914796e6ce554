//! herd.unit(5) against the table of keys: every key is there, and every example is accepted.
use units::keys::{KEYS, Status};
use units::{Facts, SourceText, UnitName, parse_unit};

const MANUAL: &str = include_str!("../../../man/herd.unit.5");

/// The entries of the manual: the keys in the heading of each, and its text.
fn entries() -> Vec<(Vec<&'static str>, &'static str)> {
    let parts = MANUAL.split("\n.TP\n").skip(1);
    parts
        .map(|part| {
            let (heading, text) = part.split_once('\n').unwrap_or((part, ""));
            let words = heading.split([' ', '"', ',']).skip(1);
            (words.filter(|word| !word.is_empty()).collect(), text)
        })
        .collect()
}

#[test]
fn every_key_of_the_language_is_in_the_manual() {
    let entries = entries();
    for key in &KEYS {
        let entry = entries.iter().find(|(keys, _)| keys.contains(&key.path));
        let (_, text) = entry.unwrap_or_else(|| panic!("{} is not in herd.unit(5)", key.path));
        let supported = key.status == Status::Supported;
        assert_eq!(text.contains("\nTakes "), supported, "{}", key.path);
        if supported {
            assert!(text.contains("\n.EX\n"), "{} has no example", key.path);
            let default = format!("Default: {}.", key.default);
            let told = text.replace("\\e", "\\").contains(&default) || key.default.is_empty();
            let assert = key.path.starts_with("assert.");
            assert!(told || assert, "{}: {default}", key.path);
        }
    }
}

#[test]
fn no_entry_of_the_manual_names_a_key_that_is_not_there() {
    for (keys, text) in entries() {
        for key in keys.iter().filter(|_| text.contains("\nTakes ")) {
            assert!(KEYS.iter().any(|known| known.path == *key), "{key}");
        }
    }
}

#[test]
fn every_example_of_the_manual_is_a_unit() {
    let name = UnitName::new("orders").unwrap();
    let mut count = 0;
    for block in MANUAL.split("\n.EX\n").skip(1) {
        let example = block.split("\n.EE").next().unwrap_or_default();
        let example = example
            .replace("\\e", "\\")
            .replace("\\-", "-")
            .replace("\\&", "");
        let mut text = example.clone();
        let begins = |word: &str| example.lines().any(|line| line.starts_with(word));
        if !begins("command ") && !begins("kind ") {
            text.insert_str(0, "command = \"x\"\n");
        }
        if ["box.", "box_root", "mount", "network."]
            .into_iter()
            .any(begins)
        {
            text.insert_str(0, "boxed = true\n");
        }
        let files = [SourceText::new("example.toml", text)];
        let parsed = parse_unit(&name, &files, &Facts::of_the_system());
        let shown = units::diagnostic::render_all(&parsed.diagnostics, false);
        assert!(parsed.unit.is_some() && shown.is_empty(), "{shown}");
        count += 1;
    }
    assert!(count > 150, "only {count} examples");
}
