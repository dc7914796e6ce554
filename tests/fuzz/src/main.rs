//! `fuzz SECONDS [TARGET…]`: feeds every reader of bytes with changed inputs for so long each.
//! `fuzz replay TARGET FILE`: feeds one input again.
//!
//! Without instrumentation: what leads a reader to an answer that it has not given yet is kept and changed
//! further. The same seed (`HERD_FUZZ_SEED`) gives the same inputs. An input that fails is left in
//! `target/fuzz/`.

#![allow(clippy::disallowed_methods, reason = "it is told how long to go on")]

mod mutation;
mod targets;

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutation::{Random, mutated, words};
use targets::{TARGETS, Target};

/// Longer than any reader has a reason to take for 16 KiB, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_KNOWN: usize = 4096;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = |names: &[String]| -> Vec<&Target> {
        TARGETS
            .iter()
            .filter(|one| names.is_empty() || names.contains(&one.name.to_owned()))
            .collect()
    };
    match arguments.split_first() {
        Some((verb, [target, file])) if verb == "replay" => {
            for target in named(std::slice::from_ref(target)) {
                match std::fs::read(file) {
                    Ok(bytes) => println!("{}: {:x}", target.name, (target.feed)(&bytes)),
                    Err(error) => {
                        eprintln!("fuzz: {file}: {error}");
                        return ExitCode::FAILURE;
                    }
                }
            }
            ExitCode::SUCCESS
        }
        Some((seconds, names)) if seconds.parse::<u64>().is_ok() => {
            let time = Duration::from_secs(seconds.parse().unwrap_or(1));
            let failed = named(names)
                .into_iter()
                .filter(|target| !holds(target, time))
                .count();
            ExitCode::from(u8::from(failed > 0))
        }
        Some(_) | None => {
            eprintln!("usage: fuzz SECONDS [TARGET…] | fuzz replay TARGET FILE");
            ExitCode::from(2)
        }
    }
}

/// Feeds one target for so long; false when an input has failed.
fn holds(target: &Target, time: Duration) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut known = (target.seeds)(&root);
    let words = words(&known);
    let mut random = Random::new(seed());
    let mut answers = HashSet::new();
    let begin = Instant::now();
    let mut fed = 0u64;
    let seeds = known.clone();
    let mut given = seeds.into_iter();
    while begin.elapsed() < time {
        let bytes = given
            .next()
            .unwrap_or_else(|| mutated(&known, &words, &mut random));
        let feed = target.feed;
        let began = Instant::now();
        let answer = catch_unwind(|| feed(&bytes));
        fed += 1;
        let took = began.elapsed();
        match answer {
            Ok(answer) if took < PATIENCE => {
                if answers.insert(answer) && known.len() < MOST_KNOWN {
                    known.push(bytes);
                }
            }
            Ok(_) | Err(_) => {
                let file = keep(target, &bytes);
                println!(
                    "{}: failed after {fed} inputs, {took:?}: {}",
                    target.name,
                    file.display()
                );
                return false;
            }
        }
    }
    println!(
        "{}: {fed} inputs, {} kinds of answers",
        target.name,
        answers.len()
    );
    true
}

fn seed() -> u64 {
    let given = std::env::var("HERD_FUZZ_SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

fn keep(target: &Target, bytes: &[u8]) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    let file = directory.join(format!("{}-{}", target.name, std::process::id()));
    let kept = std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&file, bytes));
    match kept {
        Ok(()) => file,
        Err(error) => PathBuf::from(format!("(not kept: {error}) {bytes:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a usual run of the tests has time for; `tests/dev fuzz` goes on for longer.
    #[test]
    fn no_reader_fails_on_changed_inputs() {
        for target in TARGETS {
            assert!(holds(target, Duration::from_secs(1)), "{}", target.name);
        }
    }
}
