//! Deciding code does no I/O: what ARCHITECTURE.md promises, held by reading the source.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file at or below the path.
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() || entry.extension().is_some_and(|end| end == "rs") {
            found.extend(sources(&entry));
        }
    }
    found.sort();
    found
}

/// The code of a file: without comments and without its tests at the end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

fn refuse(files: &[PathBuf], words: &[&str]) {
    let mut found = Vec::new();
    for path in files {
        let code = code(path);
        for (number, line) in code.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(!files.is_empty(), "nothing was read");
}

const EFFECTS: &[&str] = &[
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "ToSocketAddrs",
    "std::process::Command",
    "std::env",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "nix::",
    "libc::",
    "mio::",
    "rustix::",
    "inotify::",
    "unsafe ",
];

#[test]
fn the_supervisor_does_no_io_and_reads_no_clock() {
    let mut files = sources(&root().join("herd/src/supervisor"));
    files.retain(|path| !path.components().any(|part| part.as_os_str() == "tests"));
    refuse(&files, EFFECTS);
}

#[test]
fn plans_are_compiled_without_io() {
    let sandbox = root().join("sandbox/src");
    let mut files = vec![
        sandbox.join("plan.rs"),
        sandbox.join("compile.rs"),
        sandbox.join("config.rs"),
    ];
    files.extend(
        sources(&sandbox)
            .into_iter()
            .filter(|path| path.ends_with("plan.rs")),
    );
    refuse(
        &files,
        &[
            "std::fs",
            "TcpStream",
            "std::process::Command",
            "std::thread",
            "Instant::now",
            "mio::",
            "unsafe ",
        ],
    );
}

#[test]
fn units_are_read_without_io_but_for_loading() {
    let units = root().join("units/src");
    let mut files = sources(&units);
    files.retain(|path| !path.starts_with(units.join("load")));
    refuse(&files, EFFECTS);
}

#[test]
fn only_sys_is_unsafe() {
    let mut files = Vec::new();
    for folder in ["herd/src", "units/src", "sandbox/src"] {
        files.extend(sources(&root().join(folder)));
    }
    files.retain(|path| !path.starts_with(root().join("sandbox/src/sys")));
    refuse(&files, &["unsafe {", "unsafe fn", "allow(unsafe_code"]);
}

#[test]
fn nothing_prints_but_the_screen_and_the_last_words() {
    let mut files = sources(&root().join("herd/src"));
    files.retain(|path| !path.components().any(|part| part.as_os_str() == "tests"));
    for path in files {
        let code = code(&path);
        for word in ["println!", "print!("] {
            let bare = code
                .lines()
                .any(|line| line.contains(word) && !line.contains(&format!("e{word}")));
            assert!(!bare, "{}: {word}", path.display());
        }
    }
}

#[test]
fn every_file_of_the_suite_is_in_its_list() {
    let suite = root().join("tests/suite");
    let list = fs::read_to_string(suite.join("main.rs")).unwrap();
    for path in sources(&suite) {
        let name = path.strip_prefix(&suite).unwrap().with_extension("");
        let mut parts: Vec<&str> = name.iter().map(|part| part.to_str().unwrap()).collect();
        if parts == ["main"] {
            continue;
        }
        let own = parts.pop().unwrap();
        let (own, parent) = match (own, parts.split_last()) {
            ("mod", Some((folder, above))) => (*folder, above.to_vec()),
            _ => (own, parts.clone()),
        };
        let text = match parent.is_empty() {
            true => list.clone(),
            false => {
                let folder = suite.join(parent.iter().collect::<PathBuf>());
                fs::read_to_string(folder.join("mod.rs"))
                    .or_else(|_| fs::read_to_string(folder.with_extension("rs")))
                    .unwrap()
            }
        };
        assert!(
            text.contains(&format!("mod {own};")),
            "{} is in no list",
            path.display()
        );
    }
}
