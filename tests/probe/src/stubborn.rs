//! Processes that try to outlive their service, and loads that measure what they get.

#![allow(
    clippy::disallowed_methods,
    reason = "the probe is a service, not herd: it measures what it gets and runs what it is told"
)]

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::time::TimeValLike;
use nix::unistd::{ForkResult, fork, setsid};

/// `None` where there is no such thing.
pub(crate) fn act(name: &str, arguments: &[&str]) -> Option<ExitCode> {
    let first = arguments.first().copied().unwrap_or_default();
    match name {
        "hide" => hide(first),
        "burn" => burn(first.parse().unwrap_or(100)),
        "open-many" => open_many(),
        "write-file" => return Some(write_file(first, arguments)),
        "send-and-stay" => {
            let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
            let to = std::env::var_os("NOTIFY_SOCKET").expect("the service is told where");
            socket.send_to(first.as_bytes(), to).expect("herd listens");
            loop {
                nix::unistd::pause();
            }
        }
        "run" => return Some(run(arguments)),
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().expect("standard output is open");
}

/// Leaves behind: one in a session of its own that ignores every signal it can, one that is
/// stopped, one that is stopped by being traced; says so once all are there, and stays.
fn hide(end: &str) {
    let (mut all, told) = std::io::pipe().expect("a pipe");
    for kind in ["deaf", "stopped", "traced"] {
        // SAFETY: this process has one thread.
        if let Ok(ForkResult::Child) = unsafe { fork() } {
            setsid().expect("a new child leads no group");
            // SAFETY: this process has one thread.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                SigSet::all().thread_block().expect("a mask");
                (&told).write_all(b".").expect("the pipe is read");
                match kind {
                    "stopped" => raise(Signal::SIGSTOP).expect("a signal"),
                    "traced" => {
                        // SAFETY: takes nothing; a refusal leaves it merely stopped.
                        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
                        raise(Signal::SIGSTOP).expect("a signal");
                    }
                    _ => {}
                }
                loop {
                    nix::unistd::pause();
                }
            }
            std::process::exit(0);
        }
    }
    std::io::Read::read_exact(&mut all, &mut [0; 3]).expect("three bytes");
    say("hidden");
    if end == "exit" {
        return;
    }
    loop {
        nix::unistd::pause();
    }
}

/// Spins for so many milliseconds of wall time; says how many of processor time it got.
fn burn(milliseconds: u64) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(milliseconds) {
        std::hint::spin_loop();
    }
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)
        .expect("our own usage");
    let used = usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds();
    say(&format!("burnt {used}"));
}

/// Opens until it is refused; says how far it came.
fn open_many() {
    let mut held = Vec::new();
    loop {
        match fs::File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) => {
                say(&format!("opened {} {error}", held.len()));
                return;
            }
        }
    }
}

/// Writes so many MiB, through to the disk; says how long it took or why it failed.
fn write_file(path: &str, arguments: &[&str]) -> ExitCode {
    let mebibytes: u32 = arguments
        .get(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let begin = Instant::now();
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(path)?;
        for _ in 0..mebibytes {
            file.write_all(&vec![1; 1 << 20])?;
        }
        file.sync_all()
    };
    match write() {
        Ok(()) => {
            say(&format!("wrote in {}", begin.elapsed().as_millis()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("{error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs another program, for which nothing was prepared.
fn run(words: &[&str]) -> ExitCode {
    let Some((program, arguments)) = words.split_first() else {
        return ExitCode::from(2);
    };
    match std::process::Command::new(program).args(arguments).status() {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(255)).unwrap_or(255)),
        Err(error) => {
            say(&format!("{error}"));
            ExitCode::FAILURE
        }
    }
}
