//! What a user types: verbs, options, exit codes. Each verb has its file.
//!
//! A verb takes what it was given and a `Screen` and returns an exit code, or a `Failure` that
//! is printed once, here. A closed pipe is success: who pipes into `head` wants no complaint.

mod add;
mod blame;
mod boot_chart;
mod cat;
mod check;
mod completions;
mod doctor;
mod enable;
mod failure;
mod goal;
pub mod init_tools;
mod is_state;
mod job;
mod list;
mod logs;
mod network;
mod now;
mod phrases;
mod places;
mod plan;
mod plot;
mod power;
mod run;
mod screen;
mod security;
mod spare;
mod status;
mod table;
mod watch;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use units::Power;

pub(crate) use failure::USAGE;

use failure::Failure;
use places::Places;
use screen::Screen;

use crate::control::protocol::State;
use crate::pid1::tasks::{self, Task};
use crate::prepare::chain;

/// Starts, boxes and supervises services.
#[derive(Debug, Parser)]
#[command(
    name = "herd",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no such unit, 4 herd cannot be reached.\nherd(1) tells of every verb, herd.unit(5) of units."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that stand before or after any verb.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Answer in JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Speak with your own herd; the default for users other than root where one runs.
    #[arg(long, global = true, conflicts_with = "system")]
    pub user: bool,
    /// Speak with the herd of the machine.
    #[arg(long, global = true)]
    pub system: bool,
    /// Where herd's socket lies [$HERD_RUNTIME_DIR, /run/herd or $XDG_RUNTIME_DIR/herd].
    #[arg(long, global = true, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Where logs lie [$HERD_LOG_DIR, /var/log/herd or ~/.local/state/herd/log].
    #[arg(long, global = true, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Units that run [/etc/herd/enabled or ~/.config/herd/enabled].
    #[arg(long, global = true, value_name = "DIR")]
    pub enabled_dir: Option<PathBuf>,
    /// Units that exist [/etc/herd/available or ~/.config/herd/available].
    #[arg(long, global = true, value_name = "DIR")]
    pub available_dir: Option<PathBuf>,
    /// Units of packages [/usr/lib/herd/units or /usr/lib/herd/user].
    #[arg(long, global = true, value_name = "DIR")]
    pub vendor_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the units of a directory in the foreground; ctrl-c stops them in order.
    #[command(visible_aliases = ["fg", "foreground"])]
    Run(run::RunArgs),
    /// Be the service manager of the machine, or with --user your own.
    Daemon,
    /// Show how units are: a table of all, or everything about some.
    #[command(visible_alias = "show")]
    Status {
        units: Vec<String>,
        /// Units too that are not enabled, or that a machine boots with.
        #[arg(short, long)]
        all: bool,
        /// Log lines shown for each unit.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        lines: usize,
    },
    /// Start units and what they require.
    Start(JobArgs),
    /// Stop units and what requires them.
    Stop(JobArgs),
    /// Stop units and start them again.
    Restart(JobArgs),
    /// Make units read their configuration again.
    Reload(JobArgs),
    /// Send a signal to the processes of a unit.
    Kill {
        #[arg(required = true)]
        units: Vec<String>,
        /// A name or a number.
        #[arg(short, long, default_value = "TERM")]
        signal: String,
        #[arg(short, long, value_enum, default_value_t = WhomArg::All)]
        whom: WhomArg,
    },
    /// Make every process of units stand still.
    Freeze {
        #[arg(required = true)]
        units: Vec<String>,
    },
    /// Let frozen units go on.
    Thaw {
        #[arg(required = true)]
        units: Vec<String>,
    },
    /// List units, one short line each.
    #[command(visible_alias = "ls")]
    List {
        /// Units too that are not enabled, or that a machine boots with.
        #[arg(short, long)]
        all: bool,
        /// Only units in one of these states, separated by commas.
        #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = list::states())]
        state: Vec<State>,
        /// Only units that have failed.
        #[arg(long)]
        failed: bool,
    },
    /// Print the files of a unit, drop-ins included.
    Cat { unit: String },
    /// Read unit files and report every problem; no herd need run.
    #[command(visible_alias = "verify")]
    Check {
        /// Directories and files; without any, the units of this herd.
        paths: Vec<PathBuf>,
    },
    /// Print what a unit comes to on this machine, step by step.
    Plan { unit: String },
    /// Judge what stands between services and the rest: a score for all, every wall of some.
    Security { units: Vec<String> },
    /// Print the logs of units, interleaved by time.
    #[command(visible_alias = "log")]
    Logs(logs::LogsArgs),
    /// Say which units took how long to come up first, the slowest first.
    Blame,
    /// Print the boot as a picture (SVG).
    Plot,
    /// Say in a sentence why a unit is in its state.
    Why { unit: String },
    /// Say what this machine can and cannot do for a box.
    Doctor {
        /// Exit 1 when a key of units could not be honoured here.
        #[arg(long)]
        strict: bool,
    },
    /// Exit 0 when one of the units is active; with --all, when none is missing that should be.
    IsActive {
        #[arg(required_unless_present = "all")]
        units: Vec<String>,
        /// Every enabled unit and what it needs; prints those that are not as they should be.
        #[arg(short, long, conflicts_with = "units")]
        all: bool,
        /// Print nothing.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Exit 0 when one of the units is failed.
    IsFailed {
        #[arg(required = true)]
        units: Vec<String>,
        /// Print nothing.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Look at the networks of boxes, and define them.
    Network {
        #[command(subcommand)]
        action: network::Action,
    },
    /// Bring the machine to a unit and what belongs to it: rescue, multi-user, default; or say what the goal is.
    #[command(visible_alias = "isolate")]
    Goal {
        unit: Option<String>,
        /// Return at once instead of when it is done.
        #[arg(long, requires = "unit")]
        no_wait: bool,
    },
    /// What `runlevel` runs.
    #[command(hide = true)]
    Runlevel {
        #[arg(short, long)]
        quiet: bool,
        file: Option<PathBuf>,
    },
    /// Stop everything in order, and herd; a machine that herd booted is switched off.
    Shutdown {
        /// Kill at once.
        #[arg(long)]
        force: bool,
        /// Do not wait for the end.
        #[arg(long)]
        no_wait: bool,
        /// Call off what was scheduled.
        #[arg(long, conflicts_with_all = ["force", "no_wait"])]
        cancel: bool,
        /// Tell nobody that it was called off.
        #[arg(long, requires = "cancel")]
        no_wall: bool,
        /// Words for those who are told.
        #[arg(requires = "cancel")]
        message: Vec<String>,
    },
    /// Switch the machine off.
    Poweroff(power::Wish),
    /// Let the machine begin anew.
    Reboot(power::Wish),
    /// Let the machine stand still.
    Halt(power::Wish),
    /// Go on with the kernel that was loaded by kexec(8).
    Kexec(power::Wish),
    /// Let user space begin anew; the kernel and the file systems stay.
    SoftReboot(power::Wish),
    /// Write a unit that runs a command, ready to be enabled.
    Add {
        name: String,
        /// The program and its arguments [/bin/NAME].
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
        /// Put it in a box.
        #[arg(long)]
        boxed: bool,
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Let units run: now, and whenever herd starts.
    Enable {
        #[arg(required = true)]
        units: Vec<String>,
    },
    /// Let units run no more; their files stay available.
    Disable {
        #[arg(required = true)]
        units: Vec<String>,
    },
    /// Print where a unit's file lies, and what it says.
    Config { unit: String },
    /// Print a completion script.
    Completions { shell: completions::Shell },
    /// Make herd read its unit directories again, without waiting for it to notice.
    Rescan,
    /// Make failed units inactive and forget their restarts; all of them without a name.
    ResetFailed { units: Vec<String> },
    /// Print changes of state as they happen.
    Watch { units: Vec<String> },
    /// What units of a boot run.
    #[command(hide = true)]
    Machine {
        #[command(subcommand)]
        task: Task,
    },
}

#[derive(Debug, Args)]
pub struct JobArgs {
    #[arg(required = true)]
    pub units: Vec<String>,
    /// Return at once instead of when it is done.
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum WhomArg {
    Main,
    All,
}

/// Says that herd is nothing to be made setuid, and how to exit.
pub fn refuse_setuid() -> u8 {
    let message = "refuses to run setuid or setgid: every option would be a way up";
    Failure::failed(message)
        .hint("take the mode bits off the file; users have herds and boxes of their own")
        .report();
    failure::FAILED
}

/// Says that a tool was called in a way it does not know, and how to exit.
pub fn refuse_usage(complaint: &str) -> u8 {
    Failure::new(USAGE, complaint.to_owned()).report();
    USAGE
}

/// Runs the command line and says how to exit.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come this way too, with 0; a closed pipe changes nothing.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return match error.print() {
                Ok(()) | Err(_) => ExitCode::from(code),
            };
        }
    };
    let mut screen = Screen::new(cli.global.json);
    let outcome =
        add::options_are_ours(&cli.verb, &arguments).and_then(|()| verb(&cli, &mut screen));
    let flushed = screen.flush();
    match outcome.and_then(|code| flushed.map(|()| code).map_err(Failure::from)) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn verb(cli: &Cli, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let places = || Places::find(&cli.global);
    match &cli.verb {
        Verb::Run(wanted) => run::run(&cli.global, wanted),
        Verb::Daemon => run::daemon(&cli.global),
        Verb::Status { units, all, lines } => {
            status::status(&places()?, screen, units, *all, *lines)
        }
        Verb::Start(job) => job::start(&places()?, screen, job),
        Verb::Stop(job) => job::stop(&places()?, screen, job),
        Verb::Restart(job) => job::restart(&places()?, screen, job),
        Verb::Reload(job) => job::reload(&places()?, screen, job),
        Verb::Kill {
            units,
            signal,
            whom,
        } => job::kill(&places()?, screen, units, signal, *whom),
        Verb::Freeze { units } => job::freeze(&places()?, screen, units),
        Verb::Thaw { units } => job::thaw(&places()?, screen, units),
        Verb::List { all, state, failed } => {
            let failed = failed.then_some(State::Failed);
            let states: Vec<State> = state.iter().copied().chain(failed).collect();
            list::list(&places()?, screen, *all, &states)
        }
        Verb::Cat { unit } => cat::cat(&places()?, screen, unit),
        Verb::Check { paths } => check::check(&cli.global, screen, paths),
        Verb::Plan { unit } => plan::plan(&places()?, screen, unit),
        Verb::Security { units } => security::security(&places()?, screen, units),
        Verb::Logs(wanted) => logs::logs(&places()?, screen, wanted),
        Verb::Why { unit } => why::why(&places()?, screen, unit),
        Verb::Blame => blame::blame(&places()?, screen),
        Verb::Plot => plot::plot(&places()?, screen),
        Verb::Doctor { strict } => doctor::doctor(screen, *strict),
        Verb::IsActive {
            all: true, quiet, ..
        } => is_state::all_are_active(&places()?, screen, *quiet),
        Verb::IsActive { units, quiet, .. } => {
            is_state::is_active(&places()?, screen, units, *quiet)
        }
        Verb::IsFailed { units, quiet } => is_state::is_failed(&places()?, screen, units, *quiet),
        Verb::Network { action } => network::network(&places()?, screen, action),
        Verb::Goal { unit, no_wait } => match unit {
            Some(unit) => goal::aim(&places()?, screen, unit, !*no_wait),
            None => goal::show(&places()?, screen),
        },
        Verb::Runlevel { quiet, file } => goal::run_level(screen, file.as_deref(), *quiet),
        Verb::Shutdown {
            cancel: true,
            no_wall,
            message,
            ..
        } => power::cancel(&places()?, screen, message, !*no_wall),
        Verb::Shutdown { force, no_wait, .. } => {
            job::shutdown(&places()?, screen, *force, !*no_wait)
        }
        Verb::Poweroff(wish) => power::end(&places()?, screen, Power::PowerOff, wish),
        Verb::Reboot(wish) => power::end(&places()?, screen, Power::Reboot, wish),
        Verb::Halt(wish) => power::end(&places()?, screen, Power::Halt, wish),
        Verb::Kexec(wish) => power::end(&places()?, screen, Power::Kexec, wish),
        Verb::SoftReboot(wish) => power::end(&places()?, screen, Power::SoftReboot, wish),
        Verb::Add {
            name,
            command,
            boxed,
            description,
        } => {
            let template = add::Template {
                command,
                boxed: *boxed,
                description: description.as_deref(),
            };
            add::add(&places()?, screen, name, &template)
        }
        Verb::Enable { units } => enable::enable(&places()?, screen, units),
        Verb::Disable { units } => enable::disable(&places()?, screen, units),
        Verb::Config { unit } => cat::config(&places()?, screen, unit),
        Verb::Completions { shell } => completions::completions(&mut Cli::command(), *shell),
        Verb::Rescan => job::rescan(&places()?, screen),
        Verb::ResetFailed { units } => job::reset_failed(&places()?, screen, units),
        Verb::Watch { units } => watch::watch(&places()?, screen, units),
        Verb::Machine { task } => tasks::run(task)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| Failure::new(error.code(), &*chain(&error))),
    }
}

#[cfg(test)]
mod tests;
