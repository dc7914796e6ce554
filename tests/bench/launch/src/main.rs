//! `bench-launch [OPTION…] WHAT…`: times launches of a program that does nothing, one kind after
//! the other in an order shuffled anew each round, so that a busy machine is unfair to none.
//!
//! WHAT is `crate:KIND`, a launch through the sandbox crate (`kinds.rs`), or `NAME=COMMAND…`, a
//! command as it would be typed (words, no shell). In both, what is launched writes the time at
//! which its `main` was reached to its standard output.
//!
//! * `-n N`: rounds.
//! * `--program PATH`, `--root DIR`: what the boxes start, and what `root` boxes see as `/`.
//! * `--executor PATH`: builds boxes with this herd instead of this program itself.
//! * `--spares N`: executors kept ready.
//! * `--memory MIB`, `--alive N`: size and children of this process, the supervisor of the launches.
//! * `--alive-box KIND`: what the children are: `bare` unless told.
//! * `--hold`: launches nothing; says `held` and keeps the children until its input ends.
//! * `--serve KIND`: boxes that stay, begun and ended as standard input says (`serve.rs`).
//! * `--floor COMMAND`: a server of launches by hand (`floor serve`): written a byte, it launches
//!   once and answers `wall cpu` in microseconds.
//!
//! Prints one line a launch: `name blocked executed wall cpu`, in microseconds; `-` is not known.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a command, which runs others as a shell would"
)]

mod command;
mod crate_launch;
mod floor;
mod kinds;
mod options;
mod population;
mod sample;
mod serve;
mod shuffle;

use std::process::ExitCode;

use crate_launch::Engine;
use options::{Options, What};
use sample::Sample;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Of the first rounds nothing is kept: caches fill, and lazy things are done.
const WARM_UP: usize = 3;

fn main() -> ExitCode {
    if std::env::args().next().as_deref() == Some("herd-exec") {
        sandbox::herd_exec_main();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-launch: {}", told(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let _memory = population::occupy(options.memory_mib);
    let engine = Engine::new(&options)?;
    if let Some(kind) = &options.serve {
        return serve::serve(&engine, kind);
    }
    let population = population::Population::start(&engine, &options)?;
    if options.hold {
        println!("held");
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        return population.end();
    }
    let mut contenders = Vec::new();
    for what in &options.what {
        contenders.push(match what {
            What::Crate(kind) => Contender::Crate(Box::new(engine.prepare(kind)?)),
            What::Command { name, words } => Contender::Command(name.clone(), words.clone()),
            What::Floor { name, words } => {
                Contender::Floor(name.clone(), floor::Server::start(words)?)
            }
        });
    }
    let mut order = shuffle::Shuffle::new();
    for round in 0..options.rounds + WARM_UP {
        for index in order.of(contenders.len()) {
            let (name, sample) = contenders[index].launch(&engine)?;
            if round >= WARM_UP {
                println!("{name} {sample}");
            }
        }
    }
    drop(contenders);
    population.end()
}

enum Contender {
    Crate(Box<crate_launch::Prepared>),
    Command(String, Vec<String>),
    Floor(String, floor::Server),
}

impl Contender {
    fn launch(&mut self, engine: &Engine) -> Result<(String, Sample)> {
        match self {
            Self::Crate(prepared) => Ok((prepared.name.clone(), engine.launch(prepared)?)),
            Self::Command(name, words) => {
                let sample = command::launch(words).map_err(|error| format!("{name}: {error}"))?;
                Ok((name.clone(), sample))
            }
            Self::Floor(name, server) => Ok((name.clone(), server.launch()?)),
        }
    }
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
