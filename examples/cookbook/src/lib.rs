//! What the patterns share: a command as a person would write it, and its outcome on one line.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]

use std::error::Error;

use sandbox::Files;
use sandbox::config::{Config, Walls};
use sandbox::session::{Options, RunOutcome, launch};

/// What every pattern gives.
pub type Outcome = Result<(), Box<dyn Error>>;

/// `/bin/sh -c script` behind no wall but those that the pattern then asks for.
pub fn shell(name: &str, script: &str) -> Config {
    Config {
        walls: Some(Walls::bare()),
        ..Config::bare(name, ["/bin/sh", "-c", script])
    }
}

/// The walls of a config that has some.
///
/// # Panics
/// For one that has none.
pub fn walls(config: &mut Config) -> &mut Walls {
    config.walls.as_mut().expect("a pattern's config has walls")
}

/// Runs the config with the caller's own input and output.
///
/// # Errors
/// As [`launch`].
pub fn run(config: &Config) -> Result<RunOutcome, Box<dyn Error>> {
    Ok(launch(config, Files::of_caller(), Options::new())?)
}

/// A heading, and what stands under it.
pub type Pattern = (&'static str, fn() -> Outcome);

/// Runs patterns one after the other, each under its heading.
///
/// # Errors
/// That of the first pattern that fails.
pub fn show(patterns: &[Pattern]) -> Outcome {
    for (heading, pattern) in patterns {
        println!("== {heading}");
        pattern()?;
    }
    Ok(())
}
