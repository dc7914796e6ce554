//! One launch from the options to the exit code: this process is the box's caller and its monitor.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::LinkNameSpaceType;
use sandbox::cgroup::Scope;
use sandbox::seccomp::Program;
use sandbox::session::exit_code;
use sandbox::status::{self, Message};
use sandbox::{Files, Host, Launched};

use super::arguments::{Arguments, Complaint, Stop, Surroundings, check_filter, parse};
use super::check::{Circumstances, settle};
use super::config::{self, Caller, Wanted};
use super::descriptors::{Holdings, read_all, take};
use super::environment::Environment;
use super::errno;
use super::forward::{Forwarder, HANDED_ON};
use super::messages;
use super::status::{Told, exit_line};
use super::{Name, options, profile};

/// Runs the command line; gives the exit code.
pub fn run(name: &Name, words: Vec<OsString>) -> i32 {
    if words.len() == 1 && words[0] == "--version" {
        return print(&name.version());
    }
    if words.is_empty() {
        return usage(name);
    }
    let mut terminal = Terminal { name };
    let parsed = privileges().map_err(plain).and_then(|capabilities| {
        let environment = Environment::new(std::env::vars_os().collect());
        parse(words, environment, capabilities, &mut terminal)
    });
    let mut arguments = match parsed {
        Ok(arguments) => arguments,
        Err(Stop::Help) => return print(&options::usage(&name.called)),
        Err(Stop::Version) => return print(&name.version()),
        Err(Stop::Usage) => return usage(name),
        Err(Stop::Complaint(complaint)) => return name.complain(&complaint),
    };
    profile::apply(&mut arguments);
    let circumstances = circumstances(&arguments);
    match settle(&mut arguments, &circumstances) {
        Ok(()) => {}
        Err(None) => return usage(name),
        Err(Some(text)) => {
            return name.complain(&Complaint {
                text: text.into(),
                level_prefix: arguments.level_prefix,
            });
        }
    }
    match launch(name, &arguments, circumstances) {
        Ok(code) => code,
        Err(text) => {
            let is_of_child = text.as_bytes().starts_with(b"Setting pidns failed: ");
            let level_prefix = arguments.level_prefix;
            let code = name.complain(&Complaint { text, level_prefix });
            if is_of_child {
                // The child of bubblewrap's that has said so is missed by its parent.
                let missed = "Unexpected short read from pid socket";
                name.say(3, missed.as_ref(), level_prefix);
            }
            code
        }
    }
}

fn plain(text: OsString) -> Stop {
    Stop::Complaint(Complaint {
        text,
        level_prefix: false,
    })
}

/// Nothing is gained from here on. Gives the capabilities of a caller who is root.
fn privileges() -> Result<u64, OsString> {
    let (real, effective) = (rustix::process::getuid(), rustix::process::geteuid());
    if real != effective {
        // It would be root's work at the word of anybody.
        return Err("must not be installed setuid".into());
    }
    let own = sandbox::capabilities_of_caller().map_err(|error| failed("capget failed", &error))?;
    if !real.is_root() && own.permitted != 0 {
        return Err("Unexpected capabilities but not setuid, old file caps config?".into());
    }
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| failed("prctl(PR_SET_NO_NEW_PRIVS) failed", &error.into()))?;
    Ok(if real.is_root() { own.effective } else { 0 })
}

fn failed(text: &str, error: &io::Error) -> OsString {
    let reason = error
        .raw_os_error()
        .map_or_else(|| error.to_string(), errno::text);
    format!("{text}: {reason}").into()
}

/// The world while options are read.
struct Terminal<'a> {
    name: &'a Name,
}

impl Surroundings for Terminal<'_> {
    fn read(&mut self, number: i32) -> Result<Vec<u8>, i32> {
        let descriptor = take(number).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
        read_all(descriptor.ok_or(libc::EBADF)?.as_fd())
    }

    fn warn(&mut self, text: &str, level_prefix: bool) {
        self.name.say(4, text.as_ref(), level_prefix);
    }
}

/// What the machine can do, looked at only where an option asks for it.
fn circumstances(arguments: &Arguments) -> Circumstances {
    let unshare = arguments.unshare;
    let exists = |path: &str| Path::new(path).exists();
    let holds = |path: &str, text: &str| {
        std::fs::read_to_string(path).is_ok_and(|found| found.starts_with(text))
    };
    let has_user_namespaces = || {
        exists("/proc/self/ns/user")
            && !holds("/sys/module/user_namespace/parameters/enable", "N")
            && !holds("/proc/sys/user/max_user_namespaces", "0\n")
    };
    let looks_for_cgroups = unshare.cgroup || unshare.cgroup_try;
    Circumstances {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        user_namespaces: !unshare.user_try || has_user_namespaces(),
        cgroup_namespaces: !looks_for_cgroups || exists("/proc/self/ns/cgroup"),
    }
}

fn caller(arguments: &Arguments, circumstances: Circumstances) -> Result<Caller, OsString> {
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    let own = sandbox::capabilities_of_caller().map_err(|error| failed("capget failed", &error))?;
    let terminal = rustix::termios::ttyname(rustix::stdio::stdout(), Vec::new()).ok();
    Ok(Caller {
        circumstances,
        working_directory: working_directory(&arguments.environment),
        inside: (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ),
        umask: umask.as_raw_mode(),
        capabilities: own.permitted,
        node_name: OsStr::from_bytes(rustix::system::uname().nodename().to_bytes()).to_owned(),
        terminal: terminal.map(|path| PathBuf::from(OsStr::from_bytes(path.to_bytes()))),
    })
}

/// The caller's directory as `PWD` calls it, if that is right.
fn working_directory(environment: &Environment) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|of| (of.dev(), of.ino()));
    if let Some(named) = environment.of("PWD").map(Path::new)
        && named.is_absolute()
        && let (Ok(named_is), Ok(here)) = (identity(named), identity(Path::new(".")))
        && named_is == here
    {
        return named.to_owned();
    }
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

fn launch(
    name: &Name,
    arguments: &Arguments,
    circumstances: Circumstances,
) -> Result<i32, OsString> {
    if arguments
        .command
        .first()
        .is_some_and(|command| command.is_empty())
    {
        return Err("execvp : No such file or directory".into());
    }
    join(arguments)?;
    let caller = caller(arguments, circumstances)?;
    let mut holdings = Holdings::default();
    let mut wanted = config::config(arguments, &caller, &mut holdings)?;
    if let Some(walls) = &mut wanted.config.walls {
        let programs = filters(arguments)?;
        let programs = programs.iter().map(|bytes| Program::from_bytes(bytes));
        let programs = programs.collect::<Result<_, _>>();
        walls.system_calls.programs = programs.map_err(|_| messages::NO_FILTER)?;
    }
    let mut outputs = Outputs::new(arguments)?;
    let said = |error: &dyn std::error::Error| OsString::from(messages::chain(error));
    let own = &arguments.own;
    let host = if own.has_to_look() {
        Host::detect()
    } else {
        Host::of_launcher()
    };
    let host = host.map_err(|error| said(&error))?;
    let limits = own.limits.of_cgroup();
    let scope = if own.limits.any() {
        Some(Scope::open(&host, "vb", &limits).map_err(|error| said(&error))?)
    } else {
        None
    };
    if let Some(scope) = &scope {
        wanted.config.cgroup = Some(scope.name().clone());
        wanted.config.limits.cgroup = limits;
    }
    let host = scope.as_ref().map_or(&host, Scope::host);
    if arguments.descriptors.user_namespace.is_some() {
        // They stay as they are: who has made the namespace may have shut setgroups(2) in it.
        wanted.config.identity.groups = Some(host.groups.clone());
    }
    let plan = sandbox::compile(&wanted.config, host)
        .map_err(|error| said(&error))?
        .by_fork();
    sandbox::expect_children().map_err(|error| failed("sigaction", &error))?;
    let files = Files {
        stdin: rustix::stdio::stdin(),
        stdout: rustix::stdio::stdout(),
        stderr: rustix::stdio::stderr(),
        passed: &[],
        held: &holdings.borrowed(),
        own: &outputs.borrowed(),
    };
    if arguments.die_with_parent {
        // Before the command runs: whoever hears of it may end our caller.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|errno| failed("prctl", &errno.into()))?;
    }
    let handed_on = HANDED_ON.map(|signal| signal as i32);
    let held_back = if name.hands_signals_on() {
        &handed_on[..]
    } else {
        &[]
    };
    let launched = sandbox::launch_by_copy(&plan, files, held_back)
        .map_err(|error| messages::launch_sentence(&error, arguments.unshare.user))?;
    drop(holdings);
    let forwarder = name.hands_signals_on().then(Forwarder::new).transpose();
    let forwarder = forwarder.map_err(|error| failed("signalfd", &error))?;
    let ended = monitor(arguments, &wanted, launched, &mut outputs, forwarder);
    if let Ok(End::Early(signal)) = ended
        && name.hands_signals_on()
    {
        let text = messages::killed(signal);
        name.say(3, text.as_ref(), arguments.level_prefix);
    }
    if let (Ok(end), None) = (&ended, &scope) {
        // Somebody waits for us, and the kernel frees all of it at once.
        sandbox::exit_now(end.code());
    }
    if let Some(scope) = scope {
        // What is left of the box ends with its group: nobody could hold it to its limits.
        scope.close().map_err(|error| said(&error))?;
    }
    ended.map(End::code)
}

/// The programs of `--add-seccomp-fd`, read already, or that of `--seccomp`.
fn filters(arguments: &Arguments) -> Result<Vec<Vec<u8>>, OsString> {
    let Some(number) = arguments.descriptors.seccomp else {
        return Ok(arguments.filters.clone());
    };
    let cannot = |errno| OsString::from(format!("Can't read seccomp data: {}", errno::text(errno)));
    let descriptor = take(number)
        .map_err(|error| cannot(error.raw_os_error().unwrap_or(libc::EIO)))?
        .ok_or_else(|| cannot(libc::EBADF))?;
    let program = read_all(descriptor.as_fd()).map_err(cannot)?;
    check_filter(&program)?;
    Ok(vec![program])
}

/// Enters the namespaces of others that the box is to be in, but for that of its processes. They are
/// ours to leave: nothing but waiting is done here afterwards.
fn join(arguments: &Arguments) -> Result<(), OsString> {
    let own = &arguments.own;
    let descriptors = &arguments.descriptors;
    let user = |errno| match errno {
        libc::EINVAL => "Joining the specified user namespace failed, it might not be a \
                         descendant of the current user namespace."
            .to_owned(),
        errno => format!(
            "Joining specified user namespace failed: {}",
            errno::text(errno)
        ),
    };
    enter(descriptors.user_namespace, LinkNameSpaceType::User).map_err(user)?;
    for (number, kind, what) in [
        (own.network_namespace, LinkNameSpaceType::Network, "netns"),
        (
            own.uts_namespace,
            LinkNameSpaceType::HostNameAndNISDomainName,
            "utsns",
        ),
        (
            own.ipc_namespace,
            LinkNameSpaceType::InterProcessCommunication,
            "ipcns",
        ),
        (own.mount_namespace, LinkNameSpaceType::Mount, "mntns"),
    ] {
        enter(number, kind)
            .map_err(|errno| format!("Setting {what} failed: {}", errno::text(errno)))?;
    }
    Ok(())
}

fn enter(number: Option<i32>, kind: LinkNameSpaceType) -> Result<(), i32> {
    let Some(number) = number else {
        return Ok(());
    };
    let descriptor = take(number)
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?
        .ok_or(libc::EBADF)?;
    rustix::thread::move_into_link_name_space(descriptor.as_fd(), Some(kind))
        .map_err(rustix::io::Errno::raw_os_error)
}

/// Where the box is told about.
#[derive(Debug)]
struct Outputs {
    info: Option<OwnedFd>,
    status: Option<OwnedFd>,
    /// Somebody else maps the users meanwhile.
    block: Option<OwnedFd>,
}

impl Outputs {
    fn new(arguments: &Arguments) -> Result<Self, OsString> {
        let descriptors = arguments.descriptors;
        let open = |number: Option<i32>| match number.map(take) {
            None => Ok(None),
            Some(Ok(Some(descriptor))) => Ok(Some(descriptor)),
            Some(Ok(None)) => Err(written(&io::Error::from_raw_os_error(libc::EBADF))),
            Some(Err(error)) => Err(written(&error)),
        };
        Ok(Self {
            info: open(descriptors.info)?,
            status: match descriptors.json_status {
                // One number for both: one document after the other.
                same if same == descriptors.info && same.is_some() => None,
                other => open(other)?,
            },
            block: descriptors
                .user_namespace_block
                .map(take)
                .transpose()
                .map_err(|error| failed("Can't hold a descriptor", &error))?
                .flatten(),
        })
    }

    fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        [&self.info, &self.status, &self.block]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd)
            .collect()
    }

    fn tell(&mut self, told: &Told) -> Result<(), OsString> {
        if let Some(info) = self.info.take() {
            write_all(info.as_fd(), told.info().as_bytes()).map_err(|error| written(&error))?;
        }
        if let Some(status) = &self.status {
            write_all(status.as_fd(), told.line().as_bytes()).map_err(|error| written(&error))?;
        }
        Ok(())
    }

    fn ended(&mut self, code: i32) {
        if let Some(status) = self.status.take() {
            match write_all(status.as_fd(), exit_line(code).as_bytes()) {
                // Whoever does not read it any more does not want to know.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

fn written(error: &io::Error) -> OsString {
    failed("Write to info_fd", error)
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                if errno == rustix::io::Errno::PIPE {
                    // Bubblewrap leaves the signal as it was.
                    sandbox::end_by_closed_pipe();
                }
                return Err(errno.into());
            }
        }
    }
    Ok(())
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The command ended with this exit code.
    Code(i32),
    /// Somebody killed the box before there was a command, by this signal. Bubblewrap, which does not tell
    /// it from the other, says nothing.
    Early(i32),
}

impl End {
    fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Early(signal) => 128 + signal,
        }
    }
}

/// Follows the box to the end of its command.
fn monitor(
    arguments: &Arguments,
    wanted: &Wanted,
    launched: Launched,
    outputs: &mut Outputs,
    forwarder: Option<Forwarder>,
) -> Result<End, OsString> {
    let broken = |error: io::Error| failed("Can't follow the box", &error);
    let Launched { pid, pidfd, status } = launched;
    let Some(channel) = status else {
        return Err("Can't follow the box".into());
    };
    let (mut pid, mut pidfd) = (pid, pidfd);
    sandbox::keep_descriptors(&[
        Some(channel.as_fd()),
        forwarder.as_ref().map(AsFd::as_fd),
        Some(pidfd.as_fd()),
        outputs.info.as_ref().map(AsFd::as_fd),
        outputs.status.as_ref().map(AsFd::as_fd),
        outputs.block.as_ref().map(AsFd::as_fd),
    ])
    .map_err(broken)?;
    let mut is_running = false;
    let mut ended = None;
    let mut main = None;
    loop {
        let to = main.as_ref().unwrap_or(&pidfd).as_fd();
        match next(channel.as_fd(), forwarder.as_ref(), to).map_err(broken)? {
            Message::AtGate {
                pid, namespaces, ..
            } => {
                outputs.tell(&Told {
                    pid,
                    namespaces,
                    unshare: arguments.unshare,
                })?;
                if let Some(block) = outputs.block.take() {
                    // Anything, or the end, means that the maps are there.
                    match rustix::io::read(&block, &mut [0u8; 1]) {
                        Ok(_) | Err(_) => {}
                    }
                }
                match status::let_go(channel.as_fd()) {
                    // One that has died meanwhile is seen to have ended.
                    Ok(()) | Err(_) => {}
                }
            }
            Message::Failed(failure) => {
                return match failure.signal {
                    Some(signal) => Ok(End::Early(signal)),
                    None => Err(messages::sentence(&failure, arguments, wanted)),
                };
            }
            Message::Executing => {}
            Message::Executed => is_running = true,
            // Of a program that was given the terminal's foreground, which this one is not.
            Message::Stopped(_) => {}
            Message::Main { pidfd, .. } => main = Some(pidfd),
            Message::Moved {
                pid: number,
                pidfd: first,
                main_pidfd,
                ..
            } => {
                main = main_pidfd;
                (pid, pidfd) = (number, first);
            }
            Message::Exited(status) => {
                ended = Some(exit_code(status));
                break;
            }
            Message::Closed => break,
        }
    }
    let end = match ended {
        Some(code) => End::Code(code),
        None => {
            let (code, signal) = see_end(pidfd.as_fd(), forwarder.as_ref()).map_err(broken)?;
            // Our child itself was the command: the channel closed when it was executed, or by its end.
            let ran = is_running || signal.is_none() || status::has_executed(pid).unwrap_or(true);
            reap(pidfd.as_fd()).map_err(broken)?;
            match signal {
                Some(signal) if !ran => return Ok(End::Early(signal)),
                _ => is_running = true,
            }
            End::Code(code)
        }
    };
    if is_running {
        outputs.ended(end.code());
    }
    Ok(end)
}

fn next(
    channel: BorrowedFd<'_>,
    forwarder: Option<&Forwarder>,
    to: BorrowedFd<'_>,
) -> io::Result<Message> {
    loop {
        if let Some(message) = status::receive(channel)? {
            return Ok(message);
        }
        readable(channel, forwarder, to)?;
    }
}

/// Until the descriptor can be read, or a signal was handed on.
fn readable(
    descriptor: BorrowedFd<'_>,
    forwarder: Option<&Forwarder>,
    to: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut waited = vec![PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    waited.extend(forwarder.map(|one| PollFd::from_borrowed_fd(one.as_fd(), PollFlags::IN)));
    match poll(&mut waited, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    // It may tell of another process that signals go to now: to one on its way out they would be lost.
    let is_readable = !waited[0].revents().is_empty();
    match forwarder {
        Some(forwarder) if !is_readable => forwarder.hand_on(to),
        _ => Ok(()),
    }
}

/// Gives the exit code, and the signal that has killed it. It is not reaped yet.
fn see_end(pidfd: BorrowedFd<'_>, forwarder: Option<&Forwarder>) -> io::Result<(i32, Option<i32>)> {
    let mut options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    options.set(WaitIdOptions::NOHANG, forwarder.is_some());
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal();
                let code = signal.map(|signal| 128 + signal).or(status.exit_status());
                return Ok((code.unwrap_or(255), signal));
            }
            Ok(None) => readable(pidfd, forwarder, pidfd)?,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn reap(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
        // It has ended: nothing waits here.
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn print(text: &str) -> i32 {
    match write_all(rustix::stdio::stdout(), text.as_bytes()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn usage(name: &Name) -> i32 {
    match write_all(
        rustix::stdio::stderr(),
        options::usage(&name.called).as_bytes(),
    ) {
        Ok(()) | Err(_) => 1,
    }
}
