//! `herd run` and `herd daemon`: becoming the service manager.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use units::value::duration::parse_duration;
use units::{SearchPath, UnitName};

use super::Global;
use super::failure::{FAILED, Failure, NO_SUCH_UNIT, USAGE, names};
use super::places::{Places, absolute};
use crate::daemon::{self, HandedOn, Mode, Options};
use crate::logs::Format;
use crate::pid1::place::{Entry, Facts, Place};
use crate::supervisor::EndPolicy;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Every unit in it is started; without one, the enabled units are.
    pub(super) dir: Option<PathBuf>,
    /// End when this unit has ended for good, with its exit code; can be given again.
    #[arg(long, value_name = "UNIT")]
    exit_with: Vec<String>,
    /// What to do when nothing runs any more [exit as what a container was started for, else stay].
    #[arg(long, value_name = "WHAT")]
    when_done: Option<WhenDone>,
    /// How long stopping everything may take [8s as what a container was started for, else as the units say].
    #[arg(long, value_name = "TIME", value_parser = time)]
    stop_timeout: Option<Limit>,
    /// What lines on stdout look like.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What services get of herd's own environment [all as what a container was started for, else session].
    #[arg(long, value_name = "WHAT")]
    environment: Option<Environment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WhenDone {
    Exit,
    Stay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Prefix,
    Plain,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Environment {
    All,
    Session,
    None,
}

/// `None` is `infinity`.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<Duration>);

fn time(text: &str) -> Result<Limit, String> {
    match parse_duration(text) {
        Ok(limit) => Ok(Limit(limit)),
        Err(error) => Err(error.to_string()),
    }
}

/// docker and podman send SIGKILL 10 s after SIGTERM. What has not ended after 8 s is killed, which has one second
/// more; then the last lines are written.
const CONTAINER_STOP: Duration = Duration::from_secs(8);

pub(super) fn run(global: &Global, wanted: &RunArgs) -> Result<ExitCode, Failure> {
    let directory = match &wanted.dir {
        Some(directory) => Some(existing(directory)?),
        None => None,
    };
    let places = Places::to_run(global, directory.as_deref())?;
    let facts = Facts::read();
    let entry = Entry::of(&facts);
    let is_entry = entry.is_some();
    let mut search = places.search;
    for name in names(&wanted.exit_with)? {
        search.also.insert(main_unit(&search, name)?);
    }
    let when_done = match wanted.when_done {
        Some(WhenDone::Exit) => true,
        Some(WhenDone::Stay) => false,
        None => is_entry,
    };
    let stop_within = match wanted.stop_timeout {
        Some(Limit(limit)) => limit,
        None => is_entry.then_some(CONTAINER_STOP),
    };
    let format = match wanted.log_format {
        Some(LogFormat::Prefix) => Format::Prefix,
        Some(LogFormat::Plain) => Format::Plain,
        Some(LogFormat::Json) => Format::Json,
        None if global.json => Format::Json,
        None => Format::Prefix,
    };
    let handed_on = match wanted.environment {
        Some(Environment::All) => HandedOn::All,
        Some(Environment::Session) => HandedOn::Session,
        Some(Environment::None) => HandedOn::None,
        None if is_entry => HandedOn::All,
        None => HandedOn::Session,
    };
    let mut notes = places.notes;
    if let Some(entry) = entry {
        notes.insert(0, entry.words(&Place::of(&facts)));
    }
    become_manager(Options {
        mode: Mode::Foreground,
        runtime_dir: places.runtime_dir,
        log_dir: places.log_dir,
        ending: EndPolicy {
            with: search.also.clone(),
            when_done,
            stop_within,
        },
        search,
        echo: Some(format),
        handed_on,
        notes,
    })
}

fn existing(directory: &Path) -> Result<PathBuf, Failure> {
    let directory = absolute(directory)?;
    let metadata =
        std::fs::metadata(&directory).map_err(|error| Failure::file("read", &directory, &error))?;
    if !metadata.is_dir() {
        let message = format!("{} is no directory", directory.display());
        return Err(Failure::failed(message).hint("herd run takes a directory of units"));
    }
    Ok(directory)
}

/// The unit's own name. herd would wait for ever for the end of one that is not there.
fn main_unit(search: &SearchPath, name: UnitName) -> Result<UnitName, Failure> {
    if name.is_template() {
        let message = format!("--exit-with {name}: a template is nothing that runs");
        return Err(Failure::new(USAGE, message).hint(format!("name one of it, as {name}one")));
    }
    let facts = units::host_facts();
    let parsed = units::load_one(search, &name, &facts);
    let with_it = SearchPath {
        also: BTreeSet::from([name.clone()]),
        ..search.clone()
    };
    let mut loaded = units::load::load(&with_it, &facts);
    // Sound by itself, it may still require what cannot be had.
    let unsound = match parsed.unit {
        Some(unit) => match loaded.broken.remove(&unit.name) {
            Some(diagnostics) => diagnostics,
            None => return Ok(unit.name),
        },
        None => match loaded.aliases.remove(&name) {
            Some(real) => return Ok(real),
            None => parsed.diagnostics,
        },
    };
    let code = if parsed.is_missing {
        NO_SUCH_UNIT
    } else {
        FAILED
    };
    let texts: Vec<String> = unsound
        .iter()
        .map(|diagnostic| diagnostic.render(false).trim_end().to_owned())
        .collect();
    let message = format!("--exit-with {name}: {}", texts.join("\n"));
    Err(Failure::new(code, message))
}

pub(super) fn daemon(global: &Global) -> Result<ExitCode, Failure> {
    let places = Places::to_start(global)?;
    let (mode, handed_on) = if places.is_user {
        (Mode::User, HandedOn::Session)
    } else {
        (Mode::System, HandedOn::None)
    };
    become_manager(Options {
        mode,
        runtime_dir: places.runtime_dir,
        log_dir: Some(places.log_dir),
        search: places.search,
        echo: None,
        handed_on,
        ending: EndPolicy::default(),
        notes: Vec::new(),
    })
}

fn become_manager(options: Options) -> Result<ExitCode, Failure> {
    match daemon::run(options) {
        Ok(ended) => Ok(ExitCode::from(ended.code)),
        Err(error) => Err(Failure::failed(crate::prepare::chain(&error).to_string())),
    }
}
