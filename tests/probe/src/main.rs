//! Runs inside a box.
//!
//! `probe` prints as JSON what it sees. `probe try ATTACK [ARGUMENT…]` tries one thing that a box is
//! to refuse and prints `ok` or the name of the error; it exits 0 if it was let. `probe attacks`
//! lists them. What is refused has no effect; what is let is undone where that is possible.
//! `probe KEEP…` forms stay alive, for tests of limits and of stopping.

mod attempt;
mod burden;
mod report;

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
                .for_each(|(name, ..)| println!("{name}"));
            ExitCode::SUCCESS
        }
        ["try", attack, rest @ ..] => match attempt::attempt(attack, rest) {
            Some(answer) => {
                println!("{}", attempt::word(&answer));
                ExitCode::from(u8::from(answer.is_err()))
            }
            None => usage(),
        },
        [burden, rest @ ..] => burden::carry(burden, rest).unwrap_or_else(usage),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: probe [report] | attacks | try ATTACK [ARGUMENT…]");
    eprintln!(
        "       | fork-bomb N | eat-memory MIB | listen PORT | double-fork FILE | ignore-term"
    );
    ExitCode::from(2)
}
