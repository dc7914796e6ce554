//! tests/ATTACKS.md names tests; each of them has to exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of every source of tests.
fn sources(directory: &Path, all: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The cells of the table's rows: item, service as root, as a user, `vb`.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let rows = rows.map(|line| {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(str::trim).collect::<Vec<_>>()
    });
    rows.skip(1).collect()
}

#[test]
fn every_test_that_the_table_of_attacks_names_exists() {
    every_test_exists("tests/ATTACKS.md", &[]);
}

#[test]
fn every_test_that_the_walk_of_the_hardening_list_names_exists() {
    let lints = [
        "let_underscore_must_use",
        "unwrap_used",
        "missing_errors_doc",
    ];
    every_test_exists("sandbox/src/hardening.md", &lints);
}

fn every_test_exists(page: &str, others: &[&str]) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut code = String::new();
    for directory in [
        "tests/suite",
        "sandbox/tests",
        "sandbox/src",
        "herd/src",
        "units",
    ] {
        sources(&root().join(directory), &mut code);
    }
    // Cases of sandbox/tests/launch are sentences in a list; the others are functions.
    let exists = |name: &str| {
        code.contains(&format!("fn {name}()")) || code.contains(&format!("\"{name}\""))
    };
    let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    let names = named
        .into_iter()
        .filter(|word| word.contains('_') && !word.contains(['.', '/', ' ', ':', '\'', ']']))
        .filter(|word| word.chars().all(|one| !one.is_uppercase()) && !others.contains(word));
    let missing: Vec<&str> = names.filter(|name| !exists(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_table_has_every_item_and_says_something_in_every_cell() {
    let text = fs::read_to_string(root().join("tests/ATTACKS.md")).unwrap();
    let rows = rows(&text);
    let items: Vec<u32> = rows
        .iter()
        .filter_map(|row| row[0].split('.').next()?.parse().ok())
        .collect();
    assert_eq!(items, (1..=41).collect::<Vec<_>>());
    for row in &rows {
        assert_eq!(row.len(), 4, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}
