//! The command line.

use std::path::PathBuf;

use crate::Result;

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) program: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) executor: Option<PathBuf>,
    pub(crate) spares: usize,
    pub(crate) memory_mib: usize,
    pub(crate) alive: usize,
    pub(crate) alive_kind: String,
    pub(crate) hold: bool,
    pub(crate) serve: Option<String>,
    pub(crate) what: Vec<What>,
}

#[derive(Debug)]
pub(crate) enum What {
    Crate(String),
    Command { name: String, words: Vec<String> },
    Floor { name: String, words: Vec<String> },
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            rounds: 100,
            program: "/bin/true".into(),
            root: "/".into(),
            executor: None,
            spares: 0,
            memory_mib: 0,
            alive: 0,
            alive_kind: "bare".to_owned(),
            hold: false,
            serve: None,
            what: Vec::new(),
        };
        while let Some(word) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "-n" => options.rounds = value()?.parse()?,
                "--program" => options.program = value()?.into(),
                "--root" => options.root = value()?.into(),
                "--executor" => options.executor = Some(value()?.into()),
                "--spares" => options.spares = value()?.parse()?,
                "--memory" => options.memory_mib = value()?.parse()?,
                "--alive" => options.alive = value()?.parse()?,
                "--alive-box" => options.alive_kind = value()?,
                "--serve" => options.serve = Some(value()?),
                "--hold" => options.hold = true,
                other => options.what.push(What::read(other)?),
            }
        }
        Ok(options)
    }
}

impl What {
    fn read(word: &str) -> Result<Self> {
        if let Some(kind) = word.strip_prefix("crate:") {
            return Ok(Self::Crate(kind.to_owned()));
        }
        let (name, command) = word
            .split_once('=')
            .ok_or_else(|| format!("neither crate:KIND nor NAME=COMMAND: {word}"))?;
        let words = command.split_whitespace().map(str::to_owned).collect();
        Ok(match name.strip_prefix("floor:") {
            Some(name) => Self::Floor {
                name: name.to_owned(),
                words,
            },
            None => Self::Command {
                name: name.to_owned(),
                words,
            },
        })
    }
}
