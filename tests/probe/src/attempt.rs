//! Things a box is to refuse, each tried once.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt;

use nix::errno::Errno;

type Answer = Result<(), Errno>;
type Attempt = fn(&[&str]) -> Answer;
/// Name, what arguments it takes, and what it does.
pub(crate) type Attack = (&'static str, &'static str, Attempt);

/// Name, what arguments it takes, and what it does.
pub(crate) const ATTACKS: &[Attack] = &[
    ("read", "PATH", |a| {
        fs::read(word_at(a, 0)).map(drop).map_err(errno)
    }),
    ("list", "PATH", |a| {
        fs::read_dir(word_at(a, 0)).map(drop).map_err(errno)
    }),
    ("open-write", "PATH", |a| {
        OpenOptions::new()
            .write(true)
            .open(word_at(a, 0))
            .map(drop)
            .map_err(errno)
    }),
    ("write", "PATH TEXT", |a| {
        fs::write(word_at(a, 0), word_at(a, 1)).map_err(errno)
    }),
    ("create", "PATH", |a| {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(word_at(a, 0))
            .map_err(errno)?;
        fs::remove_file(word_at(a, 0)).map_err(errno)
    }),
    ("holds", "PATH TEXT", |a| {
        let text = fs::read_to_string(word_at(a, 0)).map_err(errno)?;
        if text.trim_end() == word_at(a, 1) {
            Ok(())
        } else {
            Err(Errno::EBADMSG)
        }
    }),
    ("remove", "PATH", |a| {
        fs::remove_file(word_at(a, 0)).map_err(errno)
    }),
    ("make-directory", "PATH", |a| {
        fs::create_dir(word_at(a, 0)).map_err(errno)
    }),
    ("rename", "PATH PATH", |a| {
        fs::rename(word_at(a, 0), word_at(a, 1)).map_err(errno)
    }),
    ("truncate", "PATH", |a| {
        call(libc::SYS_truncate, &[c(word_at(a, 0)).as_ptr() as i64, 0])
    }),
    ("run", "PATH", |a| {
        #[allow(clippy::disallowed_methods, reason = "the probe is no herd")]
        let status = std::process::Command::new(word_at(a, 0)).status();
        status.map(drop).map_err(errno)
    }),
    ("bind-tcp", "PORT", |a| tcp(libc::SYS_bind, a)),
    ("connect-tcp", "PORT", |a| tcp(libc::SYS_connect, a)),
    ("mknod", "PATH", |a| {
        let path = c(word_at(a, 0));
        let device = rustix::fs::makedev(1, 1);
        call(
            libc::SYS_mknodat,
            &[
                at_cwd(),
                path.as_ptr() as i64,
                i64::from(libc::S_IFCHR | 0o600),
                as_long(device),
            ],
        )?;
        fs::remove_file(word_at(a, 0)).map_err(errno)
    }),
    ("chmod-suid", "PATH", |a| {
        fs::set_permissions(word_at(a, 0), fs::Permissions::from_mode(0o4755)).map_err(errno)
    }),
    ("mount", "", |_| {
        let (kind, target) = (c("tmpfs"), c("/tmp"));
        call(
            libc::SYS_mount,
            &[
                kind.as_ptr() as i64,
                target.as_ptr() as i64,
                kind.as_ptr() as i64,
                0,
                0,
            ],
        )
    }),
    ("umount", "PATH", |a| {
        let path = c(word_at(a, 0));
        call(
            libc::SYS_umount2,
            &[path.as_ptr() as i64, i64::from(libc::MNT_DETACH)],
        )
    }),
    ("remount-rw", "PATH", |a| {
        let path = c(word_at(a, 0));
        let flags = libc::MS_REMOUNT | libc::MS_BIND;
        call(
            libc::SYS_mount,
            &[0, path.as_ptr() as i64, 0, as_long(flags), 0],
        )
    }),
    ("open-tree", "", |_| {
        let path = c("/");
        call(
            libc::SYS_open_tree,
            &[
                at_cwd(),
                path.as_ptr() as i64,
                i64::from(libc::OPEN_TREE_CLONE),
            ],
        )
    }),
    ("fsopen", "TYPE", |a| {
        call(libc::SYS_fsopen, &[c(word_at(a, 0)).as_ptr() as i64, 0])
    }),
    ("pivot-root", "", |_| {
        let dot = c(".");
        call(
            libc::SYS_pivot_root,
            &[dot.as_ptr() as i64, dot.as_ptr() as i64],
        )
    }),
    ("chroot", "PATH", |a| {
        call(libc::SYS_chroot, &[c(word_at(a, 0)).as_ptr() as i64])
    }),
    ("unshare", "KIND", |a| {
        call(libc::SYS_unshare, &[namespace(word_at(a, 0))])
    }),
    // Without a stack and with a flag pair that the kernel refuses (EINVAL): nothing is made.
    ("clone-user", "", |_| {
        call(
            libc::SYS_clone,
            &[i64::from(libc::CLONE_NEWUSER | libc::CLONE_FS), 0, 0, 0, 0],
        )
    }),
    ("clone3", "", |_| call(libc::SYS_clone3, &[0, 0])),
    ("setns", "", |_| call(libc::SYS_setns, &[-1, 0])),
    ("tiocsti", "", |_| ioctl(libc::TIOCSTI as i64)),
    ("tiocsti-high", "", |_| {
        ioctl(libc::TIOCSTI as i64 | 1 << 32)
    }),
    ("tioclinux", "", |_| ioctl(0x541c)),
    ("ptrace", "PID", |a| {
        call(
            libc::SYS_ptrace,
            &[i64::from(libc::PTRACE_ATTACH), number(a, 0), 0, 0],
        )
    }),
    ("kill", "PID", |a| call(libc::SYS_kill, &[number(a, 0), 0])),
    ("process-vm-readv", "PID", |a| {
        // One byte at an address that may well be nothing: access is decided before.
        let mut byte = 0u8;
        let here = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let there = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(0x1000),
            iov_len: 1,
        };
        let (here, there) = (&raw const here as i64, &raw const there as i64);
        call(
            libc::SYS_process_vm_readv,
            &[number(a, 0), here, 1, there, 1, 0],
        )
    }),
    ("pidfd-getfd", "", |_| {
        call(libc::SYS_pidfd_getfd, &[-1, 0, 0])
    }),
    ("kcmp", "PID", |a| {
        call(libc::SYS_kcmp, &[number(a, 0), 1, 0, 0, 0])
    }),
    ("keyctl", "", |_| call(libc::SYS_keyctl, &[0, -3, 0])),
    ("add-key", "", |_| {
        let kind = c("user");
        call(
            libc::SYS_add_key,
            &[
                kind.as_ptr() as i64,
                kind.as_ptr() as i64,
                kind.as_ptr() as i64,
                1,
                -3,
            ],
        )
    }),
    ("put-key", "KEYRING NAME", |a| {
        let (kind, name) = (c("user"), c(word_at(a, 1)));
        call(
            libc::SYS_add_key,
            &[
                kind.as_ptr() as i64,
                name.as_ptr() as i64,
                name.as_ptr() as i64,
                1,
                number(a, 0),
            ],
        )
    }),
    ("find-key", "NAME", |a| {
        let (kind, name) = (c("user"), c(word_at(a, 0)));
        let (search, session) = (10, -3);
        call(
            libc::SYS_keyctl,
            &[
                search,
                session,
                kind.as_ptr() as i64,
                name.as_ptr() as i64,
                0,
            ],
        )
    }),
    ("empty-keyring", "KEYRING", |a| {
        let clear = 7;
        call(libc::SYS_keyctl, &[clear, number(a, 0)])
    }),
    ("new-session-keyring", "", |_| {
        call(libc::SYS_keyctl, &[1, 0])
    }),
    ("bpf", "", |_| call(libc::SYS_bpf, &[0, 0, 0])),
    ("io-uring", "", |_| call(libc::SYS_io_uring_setup, &[1, 0])),
    ("userfaultfd", "", |_| call(libc::SYS_userfaultfd, &[0])),
    ("perf", "", |_| {
        call(libc::SYS_perf_event_open, &[0, 0, -1, -1, 0])
    }),
    ("fanotify", "", |_| call(libc::SYS_fanotify_init, &[0, 0])),
    ("open-by-handle", "", |_| {
        call(libc::SYS_open_by_handle_at, &[at_cwd(), 0, 0])
    }),
    ("kexec", "", |_| call(libc::SYS_kexec_load, &[0, 0, 0, -1])),
    ("reboot", "", |_| call(libc::SYS_reboot, &[0, 0, 0, 0])),
    ("init-module", "", |_| {
        call(libc::SYS_init_module, &[0, 0, 0])
    }),
    ("swapon", "", |_| call(libc::SYS_swapon, &[0, 0])),
    ("quotactl", "", |_| call(libc::SYS_quotactl, &[0, 0, 0, 0])),
    ("syslog", "", |_| call(libc::SYS_syslog, &[10, 0, 0])),
    ("settime", "", |_| call(libc::SYS_clock_settime, &[0, 0])),
    ("sethostname", "", |_| call(libc::SYS_sethostname, &[0, 0])),
    ("personality", "", |_| {
        call(libc::SYS_personality, &[0x000_0008])
    }),
    ("sched-fifo", "", |_| {
        let priority = 1i32;
        call(
            libc::SYS_sched_setscheduler,
            &[0, i64::from(libc::SCHED_FIFO), &raw const priority as i64],
        )
    }),
    ("nice", "LEVEL", |a| {
        call(libc::SYS_setpriority, &[0, 0, number(a, 0)])
    }),
    ("setuid", "UID", |a| {
        call(libc::SYS_setresuid, &[number(a, 0); 3])
    }),
    ("setgroups", "", |_| call(libc::SYS_setgroups, &[0, 0])),
    ("chown", "PATH", |a| {
        call(
            libc::SYS_fchownat,
            &[at_cwd(), c(word_at(a, 0)).as_ptr() as i64, 1, 1, 0],
        )
    }),
    ("write-execute", "", |_| {
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        call(
            libc::SYS_mmap,
            &[0, 4096, i64::from(protection), i64::from(kind), -1, 0],
        )
    }),
    ("socket", "FAMILY [TYPE]", |a| {
        let kind = if a.len() > 1 { number(a, 1) } else { 1 };
        call(libc::SYS_socket, &[number(a, 0), kind, 0])
    }),
    ("connect-unix", "PATH, @NAME for abstract", |a| {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixStream};
        let address = match word_at(a, 0).strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(word_at(a, 0)),
        };
        address
            .and_then(|address| UnixStream::connect_addr(&address))
            .map(drop)
            .map_err(errno)
    }),
    ("oom-score", "SCORE", |a| {
        fs::write("/proc/self/oom_score_adj", word_at(a, 0)).map_err(errno)
    }),
    ("x32", "", |_| call(libc::SYS_getpid | 0x4000_0000, &[])),
    // i386's getpid, or another call of it.
    ("int80", "[NUMBER [ARGUMENT]]", |a| {
        let number = if a.is_empty() { 20 } else { number(a, 0) };
        int80(number, self::number(a, 1))
    }),
    ("unknown-number", "", |_| call(100_000, &[])),
    // Any call of this architecture, with up to three arguments.
    ("number", "NUMBER [ARGUMENT …]", |a| {
        call(number(a, 0), &[number(a, 1), number(a, 2), number(a, 3)])
    }),
    // Strict mode, which would take the box's filter away, by the older way in.
    ("prctl-seccomp", "", |_| {
        call(
            libc::SYS_prctl,
            &[i64::from(libc::PR_SET_SECCOMP), 1, 0, 0, 0],
        )
    }),
    ("filter-all", "", |_| {
        let allow = libc::sock_filter {
            code: 0x06,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        };
        let program = libc::sock_fprog {
            len: 1,
            filter: (&raw const allow).cast_mut(),
        };
        call(libc::SYS_seccomp, &[1, 0, &raw const program as i64])
    }),
];

/// `None` where there is no such attack.
pub(crate) fn attempt(name: &str, arguments: &[&str]) -> Option<Answer> {
    ATTACKS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(.., attempt)| attempt(arguments))
}

/// `ok`, or the error's name as the manual has it.
pub(crate) fn word(answer: &Answer) -> String {
    match answer {
        Ok(()) => "ok".to_owned(),
        Err(errno) => format!("{errno:?}"),
    }
}

fn word_at<'a>(arguments: &[&'a str], index: usize) -> &'a str {
    arguments.get(index).copied().unwrap_or_default()
}

fn number(arguments: &[&str], index: usize) -> i64 {
    word_at(arguments, index).parse().unwrap_or(0)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn at_cwd() -> i64 {
    i64::from(libc::AT_FDCWD)
}

fn as_long(number: u64) -> i64 {
    i64::from_ne_bytes(number.to_ne_bytes())
}

fn namespace(kind: &str) -> i64 {
    i64::from(match kind {
        "mount" => libc::CLONE_NEWNS,
        "pid" => libc::CLONE_NEWPID,
        "ipc" => libc::CLONE_NEWIPC,
        "uts" => libc::CLONE_NEWUTS,
        "cgroup" => libc::CLONE_NEWCGROUP,
        "net" => libc::CLONE_NEWNET,
        "time" => 0x80,
        _ => libc::CLONE_NEWUSER,
    })
}

/// Standard input, whatever it is: a filter answers before the kernel looks at the descriptor.
fn ioctl(request: i64) -> Answer {
    let character = b'x';
    call(libc::SYS_ioctl, &[0, request, &raw const character as i64])
}

/// On the loopback address.
fn tcp(number: i64, arguments: &[&str]) -> Answer {
    let port: u16 = word_at(arguments, 0).parse().unwrap_or(0);
    let [high, low] = port.to_be_bytes();
    // struct sockaddr_in.
    let [f0, f1] = 2u16.to_ne_bytes();
    let mut address = [0u8; 16];
    for (place, byte) in address.iter_mut().zip([f0, f1, high, low, 127, 0, 0, 1]) {
        *place = byte;
    }
    let kind = nix::sys::socket::SockType::Stream;
    let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC;
    let family = nix::sys::socket::AddressFamily::Inet;
    let socket = nix::sys::socket::socket(family, kind, flags, None)?;
    let socket = i64::from(std::os::fd::AsRawFd::as_raw_fd(&socket));
    call(number, &[socket, address.as_ptr() as i64, 16])
}

/// One system call with up to six arguments.
fn call(number: i64, arguments: &[i64]) -> Answer {
    let mut six = [0; 6];
    for (place, argument) in six.iter_mut().zip(arguments) {
        *place = *argument;
    }
    // SAFETY: every attack passes numbers, nulls, or pointers to values that live until the end of
    // its own expression; null pointers make the kernel answer EFAULT at worst.
    let answer = unsafe { libc::syscall(number, six[0], six[1], six[2], six[3], six[4], six[5]) };
    Errno::result(answer).map(drop)
}

/// A call by the 32-bit gate, with one argument and the others 0.
#[cfg(target_arch = "x86_64")]
fn int80(number: i64, argument: i64) -> Answer {
    let answer: i64;
    // SAFETY: the gate keeps all registers but rax, and may clear r8 to r11; rbx, which the compiler
    // keeps for itself, is put back. Null pointers make the kernel answer EFAULT at worst.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {argument}",
            "int 0x80",
            "xchg rbx, {argument}",
            argument = inout(reg) argument => _,
            inlateout("rax") number => answer,
            in("rcx") 0i64, in("rdx") 0i64, in("rsi") 0i64, in("rdi") 0i64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // The answer has 32 bits.
    let [a, b, c, d, ..] = answer.to_le_bytes();
    let answer = i32::from_le_bytes([a, b, c, d]);
    if answer < 0 {
        Err(Errno::from_raw(-answer))
    } else {
        Ok(())
    }
}

/// There is no such gate.
#[cfg(not(target_arch = "x86_64"))]
fn int80(_: i64, _: i64) -> Answer {
    Err(Errno::ENOSYS)
}
