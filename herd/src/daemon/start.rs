//! From nothing to the loop, and from the loop to nothing left behind.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll};
use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sandbox::cgroup;
use sandbox::config::CgroupName;
use sandbox::{Host, Launcher};
use units::UnitName;

use super::calls::Waiting;
use super::launches::Launches;
use super::manager::{Manager, OWN_VARIABLES};
use super::notify::NotifySocket;
use super::options::{Ended, Mode, Options};
use super::releaser::Releaser;
use super::runtime::{Processes, Runtimes};
use super::signals::Signals;
use super::sources::{Source, Sources};
use super::units_at_hand::UnitsAtHand;
use super::watch::Watch;
use super::{CLIENT_EVENTS, Daemon, clock, leftovers, panic_words};
use crate::control::SOCKET;
use crate::control::server::{self, Server};
use crate::logs::sink::Setup;
use crate::logs::{Console, Sink, capture};
use crate::pid1::guard;
use crate::pid1::place::Place;
use crate::prepare::{HandedOn, Surface};
use crate::supervisor::{Supervisor, Time};
use crate::users::Users;

/// Why herd could not begin. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot make the runtime directory {path}")]
    RuntimeDirectory { path: PathBuf, source: io::Error },
    #[error("another herd (process {pid}) runs with the runtime directory {path}")]
    Taken { path: PathBuf, pid: String },
    #[error("cannot {what}")]
    Set {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot listen on {path}")]
    Listen { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Host(#[from] sandbox::host::HostError),
    #[error(transparent)]
    Launcher(#[from] sandbox::LaunchError),
    #[error(transparent)]
    Log(#[from] crate::logs::sink::OpenError),
    #[error(
        "/proc shows another PID namespace than herd's own: mount one there (unshare --mount-proc)"
    )]
    ForeignProc,
    #[error(
        "there is no /proc to look at processes in: mount one there (mount -t proc proc /proc)"
    )]
    NoProc,
    #[error("the unit directory {0} does not exist")]
    NoDirectory(PathBuf),
}

/// How long the log writer may take to put down the last lines.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs herd until everything has stopped; the code is herd's own exit code.
///
/// # Errors
/// `StartError` when it could not begin.
pub fn run(options: Options) -> Result<Ended, StartError> {
    if options.mode == Mode::Foreground
        && let Some(dir) = options.search.enabled.as_ref().filter(|dir| !dir.is_dir())
    {
        return Err(StartError::NoDirectory(dir.clone()));
    }
    let began = match &options.mode {
        Mode::Machine(machine) => machine.began,
        Mode::Foreground | Mode::System | Mode::User => clock::now(),
    };
    match fs::read_link("/proc/self") {
        Ok(own) if own.as_os_str() == &*std::process::id().to_string() => {}
        // What it says of a process would be about another one.
        Ok(_) => return Err(StartError::ForeignProc),
        Err(_) => return Err(StartError::NoProc),
    }
    // Before we open anything that could be taken for it.
    let inherited = sandbox::inherited_descriptors()
        .map_err(set("look at the descriptors herd was started with"))?;
    // Before anything else, so that every thread and no handler has it.
    let signals =
        Signals::block(options.mode.is_machine()).map_err(set("read signals from a descriptor"))?;
    let lock = lock(&options.runtime_dir)?;
    let host = Host::detect()?.tried();
    let (mut daemon, base) = Daemon::begin(options, began, host, signals, inherited)?;
    let code = daemon.live();
    // Nobody's services any more: a mistake here keeps no machine from its end.
    let finished = catch_unwind(AssertUnwindSafe(|| daemon.finish(base.as_ref())));
    if let Err(panic) = finished {
        complain(&format!("bug in herd: {}", panic_words(&*panic)));
    }
    daemon.manager.ended(code);
    drop(lock);
    Ok(Ended {
        code,
        power: daemon.ending.power(),
    })
}

fn set(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Set { what, source }
}

/// The runtime directory, held by this herd alone as long as the descriptor lives.
fn lock(directory: &Path) -> Result<OwnedFd, StartError> {
    let failed = |source| StartError::RuntimeDirectory {
        path: directory.to_owned(),
        source,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(failed)?;
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(failed)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let pid = fs::read_to_string(&path)
            .unwrap_or_default()
            .trim()
            .to_owned();
        return Err(StartError::Taken {
            path: directory.to_owned(),
            pid,
        });
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file.into())
}

/// Descriptors that there is room for from the start: 32 KiB of the kernel's. A service takes two or three.
const TABLE: u64 = 4096;
/// Executors kept ready once a box has been started. Two: while one is being used, one is there.
const SPARES: usize = 2;

impl Daemon {
    fn begin(
        options: Options,
        began: Time,
        host: Host,
        signals: Signals,
        inherited: BTreeMap<u32, OwnedFd>,
    ) -> Result<(Self, Option<CgroupName>), StartError> {
        let open_files = raise_open_files();
        // Orphans of services come to us, not to the machine's init.
        if std::process::id() != 1 {
            rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
                .map_err(io::Error::from)
                .map_err(set("become the subreaper of the services"))?;
        }
        let launches = Launches::new(Launcher::new()?.keep_spares(SPARES))
            .map_err(set("be woken when launches are over"))?;
        let sink = Sink::open(&Setup {
            directory: options.log_dir.clone(),
            // What a machine boots from can be read only, or be covered by another file system yet.
            is_later: options.mode.is_machine(),
            echo: options.echo,
        })?;
        let console = options.mode.is_machine().then(Console::open);
        let own_name = UnitName::new("herd").expect("a valid name");
        let poll = Poll::new().map_err(set("make an event queue"))?;
        let control_poll = Poll::new().map_err(set("make an event queue"))?;
        let mut sources = Sources::default();
        let registry = poll.registry();
        let readable = Interest::READABLE;
        let listen = |path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Listen { path, source }
        };
        let socket = options.runtime_dir.join(SOCKET);
        let listener = server::listen(&socket).map_err(listen(&socket))?;
        let uid = rustix::process::geteuid().as_raw();
        let control =
            Server::new(listener, control_poll.registry(), 0, uid).map_err(listen(&socket))?;
        let notify_path = options.runtime_dir.join("notify");
        let notify = NotifySocket::bind(&notify_path).map_err(listen(&notify_path))?;
        let mut notes = options.notes.clone();
        if options.mode.is_machine() {
            if let Err(error) = guard::stand_by() {
                notes.push(format!("nothing can watch over the end yet: {error}"));
            }
            // Who says that it is alive, or asks for something, is not to wait for a process that has crashed.
            sandbox::read_on_after_crash(&notify).map_err(set("have the notify socket read"))?;
            sandbox::refuse_after_crash(control.as_fd());
        }
        let watch = Watch::new().map_err(set("watch directories"))?;
        let watching = set("watch the sources of events");
        let added = sources
            .add_raw(
                registry,
                control_poll.as_raw_fd(),
                Source::Control,
                readable,
            )
            .and_then(|_| sources.add(registry, &signals, Source::Signals, readable))
            .and_then(|_| sources.add(registry, &notify, Source::Notify, readable))
            .and_then(|_| sources.add(registry, &watch, Source::Watch, readable));
        added.map_err(watching)?;
        let room = sources
            .reserve(Source::Room)
            .and_then(|token| mio::Waker::new(registry, token));
        sink.set_waker(room.map_err(set("be woken by the log writer"))?);
        let releaser = Releaser::new().map_err(set("be woken when networks are given back"))?;
        sources
            .add(registry, &releaser, Source::Networks, readable)
            .and_then(|_| sources.add(registry, &launches, Source::Launches, readable))
            .map_err(set("watch the sources of events"))?;
        let base = cgroup_base(&options, &host, &mut notes);
        let mark = base.is_none().then(|| place_number(&options));
        if let Some(mark) = &mark
            && std::process::id() != 1
        {
            leftovers::end_marked(mark, &mut notes);
        }
        let surface = surface(&options, base.as_ref(), &notify_path, &host);
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(set("open /dev/null"))?;
        let users = Users::read().unwrap_or_default();
        let kills = cgroup::own_oom_kills(&host.cgroups).unwrap_or(0);
        let mut daemon = Self {
            units: UnitsAtHand::new(units::load::host_facts()),
            surface,
            host,
            place: Place::here(),
            own_kills: super::own_kills::OwnKills::after(kills),
            is_aside: false,
            mark,
            launches,
            postponed: VecDeque::new(),
            unclaimed: Vec::new(),
            launches_told: false,
            filters: sandbox::seccomp::Memory::default(),
            sink,
            releaser,
            watches: super::firewall::Watches::default(),
            refusals_told: Vec::new(),
            own_name,
            poll,
            sources,
            supervisor: Supervisor::ending(options.ending.clone()),
            inbox: VecDeque::new(),
            runtimes: Runtimes::default(),
            processes: Processes::default(),
            probes: HashMap::new(),
            signals,
            notify,
            manager: Manager::from_environment(),
            watch,
            control,
            control_poll,
            control_events: Events::with_capacity(CLIENT_EVENTS),
            calls: Waiting::default(),
            users,
            users_stamp: None,
            inherited: inherited
                .into_iter()
                .map(|(number, fd)| (number, Arc::new(fd)))
                .collect(),
            null: Arc::new(null.into()),
            buffer: vec![0; capture::DRAIN_SIZE].into_boxed_slice(),
            unfinished: Vec::new(),
            paused: Vec::new(),
            paused_since: None,
            reads_anyway: false,
            rescan_at: None,
            elsewhere: super::elsewhere::Elsewhere::default(),
            sweep_at: None,
            has_left_child: false,
            memory_again: Vec::new(),
            terminations: 0,
            adopted: 0,
            notify_unread: false,
            clients_unheard: false,
            exit: None,
            wants_restart: false,
            bugs: super::breakdown::Bugs::default(),
            #[cfg(debug_assertions)]
            breaks: 0,
            ending: super::power::Ending::default(),
            console,
            goals: super::goal::Goals::default(),
            words: super::waits::Words::default(),
            started_at: clock::wall().0,
            began,
            open_files,
            options,
        };
        for note in notes {
            daemon.note(&note);
        }
        if daemon.host.is_root && Path::new(sandbox::network::BASE).exists() {
            daemon.releaser.collect();
        }
        Ok((daemon, base))
    }

    fn finish(&mut self, base: Option<&CgroupName>) {
        self.end_strays();
        self.launches.close();
        self.read_last_words();
        self.give_back_all();
        self.answer_shutdowns();
        self.leave_to_next();
        // Flushes what clients still have to hear.
        self.serve_clients();
        if let Some(base) = base
            && let Err(error) = cgroup::remove_base(&self.host, base)
        {
            self.note(&super::reason(&error));
        }
        for file in [SOCKET, "notify"] {
            let path = self.options.runtime_dir.join(file);
            if let Err(error) = fs::remove_file(&path) {
                self.note(&format!("cannot remove {}: {error}", path.display()));
            }
        }
        if !self.sink.close(LAST_WORDS) {
            complain("the log files take no more lines; the last ones are lost");
        }
    }
}

impl Daemon {
    /// Without cgroups a process that left its session and its environment belongs to no service that
    /// we know of; but it is our child by now, and nothing of ours outlives us unless its unit says so.
    fn end_strays(&mut self) {
        use units::unit::KillMode;
        let spares = |service: &crate::supervisor::Service| {
            matches!(
                service.unit().lifecycle.kill_mode,
                KillMode::Process | KillMode::None
            )
        };
        if self.surface.cgroup_base.is_some() || self.supervisor.services().any(spares) {
            return;
        }
        self.launches.end_spares();
        for pid in super::group::own_children() {
            let Some(pid) = rustix::process::Pid::from_raw(pid) else {
                continue;
            };
            self.note(&format!("ending process {}, a stray", pid.as_raw_nonzero()));
            // Ours and unreaped, so the number is still its own.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }

    /// What the services wrote last and was not read yet: nobody writes any more, so each pipe ends.
    fn read_last_words(&mut self) {
        let outputs: Vec<_> = self
            .runtimes
            .iter()
            .flat_map(|(id, runtime)| runtime.outputs.iter().map(|(_, token)| (*id, *token)))
            .collect();
        self.paused = outputs;
        for _ in 0..LAST_READINGS {
            self.read_paused(true);
            self.paused = std::mem::take(&mut self.unfinished);
            if self.paused.is_empty() {
                return;
            }
        }
    }
}

/// Of 64 KiB of each pipe.
const LAST_READINGS: usize = 16;

/// The log itself is what failed; where stderr takes nothing either, nobody can be told.
pub(super) fn complain(text: &str) {
    writeln!(io::stderr(), "herd: {text}").ok();
}

/// Our own limit goes up to the hard one; what we were started with is for the services.
///
/// The table grows while there is one thread: with more, the kernel waits for all processors at each doubling, 20 ms on
/// this kind of machine, of which a thousand services would see six.
fn raise_open_files() -> (u64, u64) {
    let before = getrlimit(Resource::Nofile);
    let hard = before.maximum;
    let raised = Rlimit {
        current: hard,
        maximum: hard,
    };
    // Fewer descriptors mean fewer services, which the launches will say by themselves.
    setrlimit(Resource::Nofile, raised).ok();
    let last = hard.unwrap_or(u64::MAX).min(TABLE).saturating_sub(1);
    // The table is as large as its highest number was. Without it all works, later.
    if let Ok(last) = i32::try_from(last) {
        drop(rustix::io::fcntl_dupfd_cloexec(
            rustix::stdio::stdin(),
            last,
        ));
    }
    (before.current.unwrap_or(u64::MAX), hard.unwrap_or(u64::MAX))
}

/// Where the groups of services go: one place for each runtime directory, so that a herd that comes
/// back finds its own, and two herds do not meet.
fn cgroup_base(options: &Options, host: &Host, notes: &mut Vec<String>) -> Option<CgroupName> {
    if !has_groups(host) {
        notes.push(
            "no cgroup is ours to use: processes are told apart by session, and a unit with \
             limits on memory, CPU or tasks does not start"
                .to_owned(),
        );
        return None;
    }
    let base = CgroupName(base_name(options));
    match cgroup::prepare_root(host, &base) {
        Ok(prepared) => {
            for (controller, error) in prepared.refused {
                notes.push(format!(
                    "controller {controller}: {}",
                    super::reason(&error)
                ));
            }
            leftovers::end_groups(&base, host, notes);
            Some(base)
        }
        Err(error) => {
            notes.push(format!("cgroups are not used: {}", super::reason(&error)));
            None
        }
    }
}

/// Whether there is a hierarchy in which we may make groups.
pub(super) fn has_groups(host: &Host) -> bool {
    host.cgroups.v2.as_ref().is_some_and(|v2| v2.writable)
        || host.cgroups.v1.values().any(|v1| v1.writable)
}

pub(super) fn base_name(options: &Options) -> String {
    match options.runtime_dir.to_str() {
        Some("/run/herd") => "herd".to_owned(),
        _ => format!("herd-{}", place_number(options)),
    }
}

/// Sixteen digits for the runtime directory.
fn place_number(options: &Options) -> String {
    let path = options.runtime_dir.as_os_str();
    format!("{:016x}", fnv(path.as_encoded_bytes()))
}

/// FNV-1a, 64 bits: the same number for the same path on every machine and in every version.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub(super) fn surface(
    options: &Options,
    base: Option<&CgroupName>,
    notify: &Path,
    host: &Host,
) -> Surface {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !OWN_VARIABLES.contains(&name.as_str()))
        .collect();
    surface_of(
        &options.mode,
        &options.runtime_dir,
        base,
        notify,
        host.uid == 0,
        options.handed_on,
        environment,
    )
}

/// The directories of services: the machine's for root, the user's own otherwise.
pub(super) fn surface_of(
    mode: &Mode,
    runtime_dir: &Path,
    base: Option<&CgroupName>,
    notify: &Path,
    is_root: bool,
    handed_on: HandedOn,
    mut environment: BTreeMap<String, String>,
) -> Surface {
    let given = match mode {
        Mode::Machine(machine) => machine.environment.clone(),
        Mode::Foreground | Mode::System | Mode::User => Vec::new(),
    };
    // As if it were herd's own: conditions ask for it.
    environment.extend(given.iter().cloned());
    let home = PathBuf::from(environment.get("HOME").map_or("/", String::as_str));
    let own = |variable: &str, below: &str| {
        // An empty or relative path there is none, as the XDG specification has it.
        let given = environment.get(variable).map(PathBuf::from);
        given
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| home.join(below))
    };
    let system = is_root && *mode != Mode::User;
    let pick = |system_path: &str, user: PathBuf| {
        if system {
            PathBuf::from(system_path)
        } else {
            user
        }
    };
    Surface {
        runtime_dir: runtime_dir.to_owned(),
        notify_socket: notify.to_owned(),
        runtime_base: pick("/run", own("XDG_RUNTIME_DIR", ".cache/run")),
        state_base: pick("/var/lib", own("XDG_STATE_HOME", ".local/state")),
        cache_base: pick("/var/cache", own("XDG_CACHE_HOME", ".cache")),
        logs_base: pick(
            "/var/log",
            own("XDG_STATE_HOME", ".local/state").join("log"),
        ),
        configuration_base: pick("/etc", own("XDG_CONFIG_HOME", ".config")),
        cgroup_base: base.map(|base| base.0.clone()),
        handed_on,
        environment,
        given,
        is_root,
    }
}
