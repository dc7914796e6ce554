//! How a machine ends, once every unit has: what is left is ended, disks are let go, the kernel is told.
//!
//! ```text
//! SIGTERM, SIGKILL to whom no unit knew ─▶ sync ─▶ file systems, loops, mappings, swap (`release.rs`)
//!   ─▶ sync ─▶ reboot(2)                or, for a soft reboot, behind the processes: execve of ourselves
//! ```
//! One thing after the other, each with a deadline. What may hang in the kernel (a sync, an umount) is done
//! by a thread that is left behind when its time is over: `reboot(2)` waits for nobody. Over all of it
//! stands [`watch_over`]. There is no log any more, so everything is said on the console.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
pub use units::Power;

use super::guard::watch_over;
use super::release;
use super::{CLOCK, FIRST_BOOT};

/// pam_nologin(8) and login(1) let nobody in but root while it is there.
pub const NO_LOGIN: &str = "/run/nologin";
/// What outlived its unit gets this long after SIGTERM.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// And after SIGKILL; who is left then hangs in the kernel.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// A disk that has taken nothing for so long takes nothing any more.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// The clock's file is small.
const NOTE_PATIENCE: Duration = Duration::from_secs(5);
/// The words of all processes: one that hangs in the kernel does not let them be read.
const READ_PATIENCE: Duration = Duration::from_secs(3);
/// And of each, once that time is over.
const SHORTEST: Duration = Duration::from_millis(20);
/// For all that follows the last unit.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Processes that are named on the console.
const NAMED: usize = 5;

/// Ends what is left, lets the disks go, and the machine. Process 1 alone may call it. `open_files` is the
/// soft limit that herd was started with.
pub(super) fn end_machine(power: Power, open_files: Option<u64>) -> ! {
    watch_over(power, LIMIT);
    within(NOTE_PATIENCE, remember_time);
    // Beside the rest, and not waited for: should it hang later, what can be written has been.
    within(Duration::ZERO, rustix::fs::sync);
    end_processes();
    let power = match power {
        Power::SoftReboot => {
            say(&power.to_string());
            let Err(error) = begin_anew(open_files);
            say(&format!("{error}; rebooting the machine instead"));
            Power::Reboot
        }
        other @ (Power::PowerOff | Power::Reboot | Power::Halt | Power::Kexec) => other,
    };
    write_everything();
    for note in release::let_go() {
        say(&note);
    }
    write_everything();
    say(&power.to_string());
    let Err(error) = tell_kernel(power);
    say(&format!("the kernel does not do it: {error}"));
    sandbox::stay_alive(c"a switch-off that the kernel refused")
}

/// `reboot(2)`, and nothing before it. A kernel that none was loaded into to follow it begins again by itself.
///
/// # Errors
/// `EPERM` without CAP_SYS_BOOT, `EINVAL` for what this kernel cannot do.
pub fn tell_kernel(power: Power) -> io::Result<Infallible> {
    let mode = match power {
        Power::PowerOff => RebootMode::RB_POWER_OFF,
        Power::Reboot | Power::SoftReboot => RebootMode::RB_AUTOBOOT,
        Power::Halt => RebootMode::RB_HALT_SYSTEM,
        Power::Kexec => {
            let Err(error) = reboot(RebootMode::RB_KEXEC);
            let error = io::Error::from(error);
            say(&format!(
                "no next kernel begins: {error}; rebooting instead"
            ));
            RebootMode::RB_AUTOBOOT
        }
    };
    Ok(reboot(mode)?)
}

/// Whether a kernel lies ready to follow this one (`kexec_load(2)`).
pub fn has_next_kernel() -> bool {
    fs::read_to_string("/sys/kernel/kexec_loaded").is_ok_and(|text| text.trim() == "1")
}

/// Does it beside, and waits for so long at most: what hangs in the kernel is left behind. `None` then.
/// Where no thread can be made it is done here, for as long as the guard of the end allows; what would not be waited
/// for is left undone.
pub fn within<T: Send + 'static>(
    limit: Duration,
    act: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    within_thread(thread::Builder::new(), limit, act)
}

fn within_thread<T: Send + 'static>(
    thread: thread::Builder,
    limit: Duration,
    act: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (tell, told) = mpsc::channel();
    let (hand, handed) = mpsc::channel();
    // A thread that was not made takes what it was to do with it: the work is handed over afterwards.
    let started = thread.spawn(move || {
        let act: Option<_> = handed.recv().ok();
        act.and_then(|act: Work<T>| tell.send(act()).ok())
    });
    match started {
        Ok(_) => {
            hand.send(Box::new(act) as Work<T>).ok()?;
            told.recv_timeout(limit).ok()
        }
        Err(_) => (!limit.is_zero()).then(act),
    }
}

type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// The clock does not go back behind this when the machine comes back ([`early`](super::early)).
fn remember_time() {
    let path = Path::new(CLOCK);
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    // Without a place to keep it the next boot has a worse clock, no more.
    if made.is_ok() {
        fs::write(path, "").ok();
    }
}

/// sync(2) for as long as disks take data.
fn write_everything() {
    let (tell, told) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || {
        rustix::fs::sync();
        tell.send(()).ok()
    });
    if started.is_err() {
        return rustix::fs::sync();
    }
    let mut before = u64::MAX;
    while told.recv_timeout(WRITE_PATIENCE) == Err(RecvTimeoutError::Timeout) {
        let left = unwritten(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
        let mib = left / 1024;
        if left >= before {
            return say(&format!(
                "the disks take nothing any more; {mib} MiB are not written"
            ));
        }
        say(&format!("writing to the disks; {mib} MiB are left"));
        before = left;
    }
}

/// proc_meminfo(5): KiB that are not on a disk yet.
fn unwritten(text: &str) -> u64 {
    let fields = ["Dirty:", "Writeback:", "NFS_Unstable:"];
    let value = |line: &str| {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let number = rest.split_whitespace().next()?;
        fields.contains(&name).then(|| number.parse::<u64>().ok())?
    };
    text.lines().filter_map(value).sum()
}

/// A process with a program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    pid: i32,
    name: String,
    /// It serves the root file system (systemd's "Storage daemons for the root file system"): root's, and the
    /// first character of its first word is `@`.
    is_spared: bool,
}

/// SIGTERM and SIGKILL to everybody, with time to end after each.
fn end_processes() {
    let steps = [
        (Signal::SIGTERM, "ending", LAST_WORDS),
        (Signal::SIGKILL, "killing", LAST_BREATH),
    ];
    for (signal, words, patience) in steps {
        // Nobody is a child of ours once all have ended: who loses a parent becomes one.
        if reap_until(now(), false) {
            return;
        }
        let programs = programs();
        let (spared, ended): (Vec<_>, Vec<_>) =
            programs.into_iter().partition(|program| program.is_spared);
        if ended.is_empty() {
            return;
        }
        say(&format!("{words} what no unit knows: {}", names(&ended)));
        send(signal, &ended, spared.is_empty());
        if signal == Signal::SIGTERM {
            // A stopped process hears of it, and shells end at a hang-up only.
            send(Signal::SIGHUP, &ended, spared.is_empty());
            send(Signal::SIGCONT, &ended, spared.is_empty());
        }
        if reap_until(now() + patience, !spared.is_empty()) {
            return;
        }
    }
    let left: Vec<_> = programs().into_iter().filter(|p| !p.is_spared).collect();
    if !left.is_empty() {
        say(&format!("these cannot be killed: {}", names(&left)));
    }
}

/// To everybody at once where nobody is spared: no fork is fast enough for that.
fn send(signal: Signal, programs: &[Program], is_for_all: bool) {
    if is_for_all {
        kill(Pid::from_raw(-1), signal).ok();
        return;
    }
    for program in programs {
        // Nobody but us reaps what nobody else waits for; a number that is gone hits nobody.
        kill(Pid::from_raw(program.pid), signal).ok();
    }
}

fn programs() -> Vec<Program> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let deadline = now() + READ_PATIENCE;
    let program = |entry: fs::DirEntry| {
        use std::os::unix::fs::MetadataExt;
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        // Any bytes: a process gives itself its name.
        let comm = fs::read(entry.path().join("comm")).ok()?;
        let comm = String::from_utf8_lossy(&comm);
        let file = entry.path().join("cmdline");
        let left = deadline.saturating_duration_since(now());
        let words = within(left.max(SHORTEST), move || fs::read(file));
        let Some(words) = words else {
            // It holds its memory while it hangs in the kernel, as a program does and a thread of the kernel does not.
            return program_of(pid, b"?", &comm, false);
        };
        let words = words.ok()?;
        let is_roots = entry.metadata().is_ok_and(|metadata| metadata.uid() == 0);
        program_of(pid, &words, &comm, is_roots)
    };
    entries.filter_map(program).collect()
}

/// A thread of the kernel, and a process that has ended, has no words.
fn program_of(pid: i32, words: &[u8], comm: &str, is_roots: bool) -> Option<Program> {
    let first = *words.first()?;
    (pid != 1).then(|| Program {
        pid,
        name: comm.trim_end().escape_debug().to_string(),
        is_spared: is_roots && first == b'@',
    })
}

fn names(programs: &[Program]) -> String {
    let named = programs.iter().take(NAMED);
    let named: Vec<_> = named.map(|p| format!("{} ({})", p.name, p.pid)).collect();
    let named = named.join(", ");
    match programs.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Whether no child is left, at the latest at that time; where somebody is spared, nobody else.
fn reap_until(deadline: Instant, spares: bool) -> bool {
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    // Blocked since the beginning, but not on every way that leads here.
    children.thread_block().ok();
    let ends = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(_) => return true,
            }
        }
        if spares && programs().iter().all(|program| program.is_spared) {
            return true;
        }
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return false;
        }
        let Ok(ends) = &ends else { return false };
        let mut polled = [PollFd::new(ends, PollFlags::IN)];
        let time = rustix::time::Timespec::try_from(left).ok();
        poll(&mut polled, time.as_ref()).ok();
        while matches!(ends.read_signal(), Ok(Some(_))) {}
    }
}

/// Executes ourselves again, as whatever lies there by now, with the words of the first time.
fn begin_anew(open_files: Option<u64>) -> io::Result<Infallible> {
    // This boot is not the first one any more, and whoever starts counts from what the kernel gave.
    fs::remove_file(FIRST_BOOT).ok();
    let now = getrlimit(Resource::Nofile);
    let before = Rlimit {
        current: open_files,
        maximum: now.maximum,
    };
    setrlimit(Resource::Nofile, before).ok();
    let words: Result<Vec<CString>, _> = std::env::args_os()
        .map(|word| CString::new(word.into_vec()))
        .collect();
    let words = words?;
    let link = fs::read_link("/proc/self/exe").unwrap_or_default();
    let mut problem = io::Error::from(io::ErrorKind::NotFound);
    for path in [present(&link), PathBuf::from("/sbin/init")] {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let Err(error) = nix::unistd::execv(&name, &words);
        let error = io::Error::from(error);
        problem = io::Error::other(format!("cannot execute {}: {error}", path.display()));
        say(&problem.to_string());
    }
    Err(problem)
}

/// Where a program lies whose file was replaced since it began (proc_pid_exe(5)).
fn present(link: &Path) -> PathBuf {
    let bytes = link.as_os_str().as_bytes();
    let kept = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    PathBuf::from(OsStr::from_bytes(kept))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the end has no loop and no supervisor whose clock could be asked"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// On the console; a console that is stopped keeps nothing up.
pub fn say(text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let console = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open("/dev/console");
    if let Ok(mut console) = console {
        writeln!(console, "herd: {text}").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_added_up() {
        let text = "MemTotal:  500 kB\nDirty:   12 kB\nWriteback:  30 kB\nWritebackTmp: 9 kB\n";
        assert_eq!(unwritten(text), 42);
        assert_eq!(unwritten("nonsense"), 0);
    }

    #[test]
    fn only_roots_storage_daemons_are_spared_and_threads_of_the_kernel_are_no_programs() {
        let spared = |words: &[u8], root| program_of(7, words, "x\n", root).map(|p| p.is_spared);
        assert_eq!(spared(b"@dmcrypt\0", true), Some(true));
        assert_eq!(spared(b"@dmcrypt\0", false), Some(false));
        assert_eq!(spared(b"sh\0-c\0@x\0", true), Some(false));
        assert_eq!(spared(b"", true), None);
        assert_eq!(program_of(1, b"init\0", "init\n", true), None);
    }

    #[test]
    fn five_processes_are_named_and_the_others_counted() {
        let of = |count: i32| {
            let programs: Vec<_> = (2..2 + count)
                .filter_map(|pid| program_of(pid, b"sh\0", "sh\n", true))
                .collect();
            names(&programs)
        };
        assert_eq!(of(2), "sh (2), sh (3)");
        assert_eq!(of(7), "sh (2), sh (3), sh (4), sh (5), sh (6) and 2 more");
    }

    #[test]
    fn a_program_that_was_replaced_is_the_one_that_lies_there_now() {
        assert_eq!(
            present(Path::new("/bin/herd (deleted)")),
            Path::new("/bin/herd")
        );
        assert_eq!(present(Path::new("/bin/herd")), Path::new("/bin/herd"));
    }

    #[test]
    fn what_hangs_is_left_behind() {
        let (keep, wait) = mpsc::channel::<()>();
        let hanging = move || wait.recv().ok();
        assert_eq!(within(Duration::from_millis(1), hanging), None);
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        drop(keep);
    }

    #[test]
    fn without_a_thread_it_is_done_at_once() {
        // More than any machine has addresses for.
        let impossible = thread::Builder::new().stack_size(1 << 60);
        assert_eq!(
            within_thread(impossible, Duration::from_secs(60), || 7),
            Some(7)
        );
        let impossible = thread::Builder::new().stack_size(1 << 60);
        assert_eq!(within_thread(impossible, Duration::ZERO, || 7), None);
    }
}
