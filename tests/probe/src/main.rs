//! Runs inside a box.
//!
//! `probe` prints as JSON what it sees. `probe try ATTACK [ARGUMENT…]` tries one thing that a box is
//! to refuse and prints `ok` or the name of the error; it exits 0 if it was let. `probe attacks`
//! lists them;
//! `probe tries ATTACK|ARGUMENT… …` tries several and prints one JSON object. What is refused has no effect; what is let is undone where that is possible.
//! `probe KEEP…` forms stay alive, for tests of limits and of stopping.

#![allow(
    clippy::disallowed_methods,
    reason = "the probe is a program under test's care, not part of herd"
)]

mod attempt;
mod burden;
mod escape;
mod report;
mod stubborn;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["report"] => {
            println!("{}", report::everything());
            ExitCode::SUCCESS
        }
        ["attacks"] => {
            attempt::ATTACKS
                .iter()
                .chain(escape::ATTACKS)
                .for_each(|(name, ..)| println!("{name}"));
            ExitCode::SUCCESS
        }
        ["tries", words @ ..] => tries(words),
        ["try", attack, rest @ ..] => match attempt_any(attack, rest) {
            Some(answer) => {
                println!("{}", attempt::word(&answer));
                ExitCode::from(u8::from(answer.is_err()))
            }
            None => usage(),
        },
        [verb, rest @ ..] => burden::carry(verb, rest)
            .or_else(|| stubborn::act(verb, rest))
            .unwrap_or_else(usage),
    }
}

fn attempt_any(name: &str, arguments: &[&str]) -> Option<Result<(), nix::errno::Errno>> {
    attempt::attempt(name, arguments).or_else(|| escape::attempt(name, arguments))
}

/// One JSON object: each `ATTACK|ARGUMENT…` with its answer.
fn tries(words: &[&str]) -> ExitCode {
    let mut answers = serde_json::Map::new();
    for whole in words {
        let parts: Vec<&str> = whole.split('|').collect();
        match attempt_any(parts[0], &parts[1..]) {
            Some(answer) => answers.insert((*whole).to_owned(), attempt::word(&answer).into()),
            None => return usage(),
        };
    }
    println!("{}", serde_json::Value::Object(answers));
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: probe [report] | attacks | try ATTACK [ARGUMENT…] | tries ATTACK[|ARGUMENT…]…"
    );
    eprintln!("       | hide [exit] | burn MS | open-many | write-file PATH MIB | run PROGRAM…");
    eprintln!(
        "       | fork-bomb N | eat-memory MIB | huge-pages N | listen PORT | double-fork FILE | ignore-term"
    );
    ExitCode::from(2)
}
