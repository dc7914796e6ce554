//! Ways out that need more than one call: objects of System V and POSIX, herd's own sockets,
//! descriptors of the box's first process.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};

use nix::errno::Errno;

use crate::attempt::Attack;

/// Name, what arguments it takes, and what it does.
pub(crate) const ATTACKS: &[Attack] = &[
    ("exec", "PROBE", |a| {
        let ended = std::process::Command::new(word(a, 0))
            .arg("attacks")
            .stdout(std::process::Stdio::null())
            .status()
            .map_err(errno)?;
        if ended.success() {
            Ok(())
        } else {
            Err(Errno::ECHILD)
        }
    }),
    ("shmget", "KEY", |a| {
        call(libc::SYS_shmget, [number(a, 0), 1, 0])
    }),
    ("msgget", "KEY", |a| {
        call(libc::SYS_msgget, [number(a, 0), 0, 0])
    }),
    ("semget", "KEY", |a| {
        call(libc::SYS_semget, [number(a, 0), 0, 0])
    }),
    ("mq-open", "NAME", |a| {
        let name = CString::new(word(a, 0)).unwrap_or_default();
        call(libc::SYS_mq_open, [name.as_ptr() as i64, 0, 0])
    }),
    ("send", "PATH TEXT", |a| {
        let socket = UnixDatagram::unbound().map_err(errno)?;
        socket
            .send_to(word(a, 1).as_bytes(), word(a, 0))
            .map(drop)
            .map_err(errno)
    }),
    ("varlink", "PATH MESSAGE", |a| {
        varlink(word(a, 0), word(a, 1))
    }),
    ("read-link", "PATH", |a| {
        fs::read_link(word(a, 0)).map(drop).map_err(errno)
    }),
    ("truncate", "PATH", |a| {
        let path = CString::new(word(a, 0)).unwrap_or_default();
        call(libc::SYS_truncate, [path.as_ptr() as i64, 0, 0])
    }),
    ("link", "FROM TO", |a| {
        fs::hard_link(word(a, 0), word(a, 1)).map_err(errno)?;
        fs::remove_file(word(a, 1)).map_err(errno)
    }),
    ("set-capability", "PATH", |a| {
        let path = CString::new(word(a, 0)).unwrap_or_default();
        let value = [1u8, 0, 0, 2, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let name = c"security.capability";
        // SAFETY: both strings end in NUL and `value` is as long as told; all outlive the call.
        let answer = unsafe {
            libc::setxattr(
                path.as_ptr(),
                name.as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        };
        Errno::result(answer).map(drop)
    }),
    ("open-files", "N", |a| {
        let limit = libc::rlimit {
            rlim_cur: u64::try_from(number(a, 0)).unwrap_or(0),
            rlim_max: u64::try_from(number(a, 0)).unwrap_or(0),
        };
        // SAFETY: the pointer is to a whole rlimit.
        Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
    }),
    ("keep-capabilities", "", |_| {
        // SECBIT_NO_SETUID_FIXUP
        prctl(libc::PR_SET_SECUREBITS, 4, 0)
    }),
    ("ambient", "NUMBER", |a| {
        prctl(
            libc::PR_CAP_AMBIENT,
            i64::from(libc::PR_CAP_AMBIENT_RAISE),
            number(a, 0),
        )
    }),
    ("move-cgroup", "FILE", |a| {
        fs::write(word(a, 0), std::process::id().to_string()).map_err(errno)
    }),
    ("write-map", "", |_| {
        fs::write("/proc/self/uid_map", "0 0 1").map_err(errno)
    }),
    ("nested", "none | proc | umount PATH | remount PATH", nested),
    ("chroot-climb", "", |_| {
        fs::create_dir_all("/tmp/jail").map_err(errno)?;
        std::os::unix::fs::chroot("/tmp/jail").map_err(errno)
    }),
    ("device", "MAJOR MINOR", |a| {
        let path = c"/tmp/node";
        let device = libc::makedev(
            u32::try_from(number(a, 0)).unwrap_or(0),
            u32::try_from(number(a, 1)).unwrap_or(0),
        );
        // SAFETY: the path ends in NUL and outlives the call.
        Errno::result(unsafe { libc::mknod(path.as_ptr(), libc::S_IFBLK | 0o600, device) })?;
        fs::read(path.to_str().unwrap_or_default())
            .map(drop)
            .map_err(errno)
    }),
];

/// `None` where there is no such attack.
pub(crate) fn attempt(name: &str, arguments: &[&str]) -> Option<Result<(), Errno>> {
    ATTACKS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(.., attempt)| attempt(arguments))
}

/// Becomes root of a user namespace of its own, with mounts and processes of its own, and there tries
/// to see more than before.
fn nested(arguments: &[&str]) -> Result<(), Errno> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let path = CString::new(word(arguments, 1)).unwrap_or_default();
    // SAFETY: numbers alone.
    Errno::result(unsafe {
        libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID)
    })?;
    fs::write("/proc/self/setgroups", "deny").map_err(errno)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(errno)?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(errno)?;
    // SAFETY: the child makes system calls alone and ends.
    let child = Errno::result(unsafe { libc::fork() })?;
    if child == 0 {
        let none = std::ptr::null();
        let remount = libc::MS_REMOUNT | libc::MS_BIND;
        let kind = c"proc".as_ptr();
        // SAFETY: all strings end in NUL and outlive the calls; null is what the calls take for none.
        let answer = unsafe {
            match word(arguments, 0) {
                "proc" => libc::mount(kind, c"/tmp".as_ptr(), kind, 0, none),
                "umount" => libc::umount2(path.as_ptr(), libc::MNT_DETACH),
                "remount" => libc::mount(kind, path.as_ptr(), kind, remount, none),
                _ => 0,
            }
        };
        let code = Errno::result(answer).map_or_else(|errno| errno as i32, |_| 0);
        // SAFETY: nothing of the parent's is to be undone here.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: the pointer is to a local that outlives the call.
    Errno::result(unsafe { libc::waitpid(child, &raw mut status, 0) })?;
    match libc::WEXITSTATUS(status) {
        0 => Ok(()),
        code => Err(Errno::from_raw(code)),
    }
}

/// `ok` when herd did what the message asks.
fn varlink(path: &str, message: &str) -> Result<(), Errno> {
    let mut stream = UnixStream::connect(path).map_err(errno)?;
    stream.write_all(message.as_bytes()).map_err(errno)?;
    stream.write_all(&[0]).map_err(errno)?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).map_err(errno)? == 1 && byte != [0] {
        answer.extend_from_slice(&byte);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.is_empty() || answer.contains("PermissionDenied") {
        Err(Errno::EACCES)
    } else if answer.contains("\"error\"") {
        Err(Errno::EPROTO)
    } else {
        Ok(())
    }
}

fn word<'a>(arguments: &[&'a str], index: usize) -> &'a str {
    arguments.get(index).copied().unwrap_or_default()
}

fn number(arguments: &[&str], index: usize) -> i64 {
    word(arguments, index).parse().unwrap_or(0)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

fn prctl(option: i32, first: i64, second: i64) -> Result<(), Errno> {
    // SAFETY: both options take numbers.
    Errno::result(unsafe { libc::prctl(option, first, second, 0, 0) }).map(drop)
}

fn call(number: i64, arguments: [i64; 3]) -> Result<(), Errno> {
    // SAFETY: every attack passes numbers or a string that outlives its own expression.
    let answer = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2], 0) };
    Errno::result(answer).map(drop)
}
