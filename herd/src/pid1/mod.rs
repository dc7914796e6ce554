//! herd as the first process of a machine or of a container.
//!
//! ```text
//! kernel ──▶ early ──▶ mounts, console, names, clock          what no unit can do
//!            builtin ─▶ /run/herd/boot/*.toml                 units that the binary brings along
//!            daemon ──▶ goal: sysinit ─▶ basic ─▶ services ─▶ multi-user
//!            power ◀── everything stopped in reverse order    what no unit can do any more
//! ```
//! Everything of a boot that can be a unit is one: `herd status`, `herd why`, `herd blame`, drop-ins and
//! masks work on it as on any other. What fails here is a note and not an end; what cannot go on at all
//! ends in a shell on the console (`sandbox::stay_alive`), never in a panic of the kernel.
#![forbid(unsafe_code)]

mod builtin;
pub mod command_line;
mod early;
pub mod fstab;
pub mod guard;
mod locale;
pub mod login_records;
mod machine_id;
mod mounts;
pub mod place;
pub mod power;
mod release;
mod static_nodes;
mod swap;
pub mod tasks;
pub mod wall;
pub mod warnings;

use std::ffi::{CString, OsString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit};
use units::load::Boot;
use units::{SearchPath, UnitName};

use crate::daemon::{self, HandedOn, Machine, Mode, Options};
use crate::prepare::words as plainly;
use crate::supervisor::EndPolicy;
use command_line::Wishes;

pub use command_line::is_alone;
pub use early::{CLOCK, FIRST_BOOT};
use place::Place;

/// The verbs that may be the first process of a machine; every other word is one for an init, or somebody else's.
const VERBS: [&str; 2] = ["run", "daemon"];
/// The first arguments with which a user starts an init in a container, whatever it is called.
const WISHES: [&str; 13] = [
    "rescue",
    "single",
    "emergency",
    "auto",
    "s",
    "S",
    "-b",
    "1",
    "2",
    "3",
    "4",
    "5",
    "splash",
];

/// Claims that this is the first process, and was started as an init: by that name, without a word, or
/// with one that inits know. On a machine the kernel hands on every bare word of its command line that it does
/// not know, and panics when the first process exits: there all but `herd run DIR` and `herd daemon` is an init.
pub fn is_called(words: &[OsString]) -> bool {
    is_first_process() && is_init(words, || !Place::here().is_container())
}

/// The first process of its PID namespace.
pub fn is_first_process() -> bool {
    std::process::id() == 1
}

fn is_init(words: &[OsString], is_machine: impl FnOnce() -> bool) -> bool {
    let name = words.first().map(Path::new).and_then(Path::file_name);
    let Some(first) = words.get(1) else {
        return true;
    };
    let first = first.to_str().unwrap_or_default();
    name.is_some_and(|name| name == "init")
        || WISHES.contains(&first)
        || first.contains('=')
        || (!VERBS.contains(&first) && is_machine())
}

/// For a first process whose own words cannot be understood: a machine goes on with a shell on the console.
pub fn outlive(code: ExitCode) -> ExitCode {
    if code == ExitCode::from(crate::cli::USAGE)
        && is_first_process()
        && !Place::here().is_container()
    {
        sandbox::stay_alive(c"words on the command line that it does not understand");
    }
    code
}

/// Boots the machine and switches it off, or serves the container.
pub fn main(words: &[OsString]) -> ExitCode {
    if Place::here().is_container() {
        return crate::cli::main(["herd", "run"].map(OsString::from));
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| boot(words)));
    let reason = match outcome {
        Ok(error) => format!("it could not begin: {}", crate::prepare::chain(&error)),
        Err(_) => "a bug in herd".to_owned(),
    };
    let reason = CString::new(reason.replace('\0', " ")).unwrap_or_default();
    sandbox::stay_alive(&reason)
}

/// Returns only if herd could not begin.
fn boot(words: &[OsString]) -> daemon::StartError {
    // Before it is raised, for whoever begins after a soft reboot.
    let open_files = getrlimit(Resource::Nofile).current;
    let began = daemon::moment();
    let mut notes = Vec::new();
    if let Err(error) = sandbox::catch_crashes() {
        notes.push(format!(
            "cannot catch crashes of our own: {}",
            plainly(&error)
        ));
    }
    notes.extend(early::prepare());
    if let Err(error) = login_records::write_boot() {
        notes.push(format!("cannot write /run/utmp: {}", plainly(&error)));
    }
    let wishes = wishes(words);
    notes.extend(wishes.complaints.iter().cloned());
    let directory = PathBuf::from(builtin::DIRECTORY);
    if let Err(error) = builtin::write(&directory, &wishes, &builtin::consoles()) {
        notes.push(format!(
            "cannot write the units of the boot: {}",
            plainly(&error)
        ));
    }
    let table = fstab::Machine {
        herd: String::new(),
        check: wishes.check,
        keeps_root: wishes.keeps_root,
        masked: wishes.masked.clone(),
        ..fstab::Machine::default()
    };
    notes.extend(look_at_fstab(&table));
    // What the command line says of the environment goes before the files.
    let mut environment = locale::variables();
    environment.extend(wishes.environment);
    let search = SearchPath {
        boot: Some(Boot {
            directory,
            goal: wishes.goal,
            alone: wishes.alone,
            masked: wishes.masked,
        }),
        ..SearchPath::system()
    };
    let ended = daemon::run(Options {
        mode: Mode::Machine(Machine {
            environment,
            is_quiet: wishes.quiet,
            began,
            fstab: table,
        }),
        runtime_dir: "/run/herd".into(),
        log_dir: Some("/var/log/herd".into()),
        search,
        echo: None,
        handed_on: HandedOn::None,
        ending: EndPolicy::default(),
        notes,
    });
    match ended {
        Ok(end) => power::end_machine(end.power, open_files),
        Err(error) => error,
    }
}

/// Makes the units of fstab, at a boot and when somebody asks herd to read its files again; says what is wrong with it.
pub fn look_at_fstab(machine: &fstab::Machine) -> Vec<String> {
    let directory = Path::new(builtin::DIRECTORY);
    builtin::write_fstab(directory, machine).unwrap_or_else(|error| {
        vec![format!(
            "cannot make units of {}: {}",
            fstab::PATH,
            plainly(&error)
        )]
    })
}

/// The units that were made of fstab.
pub fn units_of_fstab() -> Vec<UnitName> {
    builtin::of_fstab(Path::new(builtin::DIRECTORY))
}

/// The boot whose units lie in `/run/herd/boot`, for verbs that read unit files themselves.
pub fn boot_of_this_machine() -> Option<Boot> {
    let directory = PathBuf::from(builtin::DIRECTORY);
    directory.is_dir().then(|| Boot {
        directory,
        goal: Wishes::of([]).goal,
        alone: false,
        masked: Vec::new(),
    })
}

/// Of the kernel's command line and of our own arguments, which stand there too but for those of
/// `init=/bin/sh`-like boots.
fn wishes(words: &[OsString]) -> Wishes {
    let line = command_line::of_kernel();
    let mut heard = command_line::words(&line);
    let own = words.iter().skip(1).filter_map(|word| word.to_str());
    heard.extend(own.map(str::to_owned));
    Wishes::of(heard.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_is_known_by_name_or_by_what_it_is_told() {
        let of = |words: &[&str]| {
            is_init(
                &words.iter().map(OsString::from).collect::<Vec<_>>(),
                || false,
            )
        };
        assert!(of(&["/sbin/init"]));
        assert!(of(&["init", "rescue"]));
        assert!(of(&["/usr/bin/herd"]));
        assert!(of(&["/usr/bin/herd", "emergency"]));
        assert!(!of(&["/usr/bin/herd", "run", "/etc/herd/enabled"]));
        assert!(!of(&["herd", "status"]));
    }

    #[test]
    fn on_a_machine_words_of_others_change_nothing() {
        let of = |words: &[&str]| {
            is_init(
                &words.iter().map(OsString::from).collect::<Vec<_>>(),
                || true,
            )
        };
        for word in ["rhgb", "nosplash", "3", "status", "--version", "-z", ""] {
            assert!(of(&["/usr/bin/herd", word]), "{word:?}");
        }
        assert!(!of(&["/usr/bin/herd", "run", "/etc/herd/enabled"]));
        assert!(!of(&["/usr/bin/herd", "daemon"]));
    }
}
