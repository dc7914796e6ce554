//! Loads for limits, and processes that do not want to go.

use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, fork, setsid};

/// `None` where there is no such burden.
pub(crate) fn carry(name: &str, arguments: &[&str]) -> Option<ExitCode> {
    let first = arguments.first().copied().unwrap_or_default();
    match name {
        "fork-bomb" => fork_bomb(first.parse().unwrap_or(100)),
        "eat-memory" => eat_memory(first.parse().unwrap_or(100)),
        "huge-pages" => huge_pages(first.parse().unwrap_or(1)),
        "listen" => listen(first.parse().unwrap_or(0)),
        "double-fork" => double_fork(first),
        "ignore-term" => ignore_term(),
        "stay" => stay(),
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().expect("standard output is open");
}

/// Until a signal ends it.
fn stay() {
    loop {
        nix::unistd::pause();
    }
}

/// Starts up to `n` processes that stay; says how many there were.
fn fork_bomb(n: u32) {
    let mut made = 0;
    for _ in 0..n {
        // SAFETY: this process has one thread; the child only waits.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { .. }) => made += 1,
            Ok(ForkResult::Child) => stay(),
            Err(errno) => {
                say(&format!("{made} {errno:?}"));
                return stay();
            }
        }
    }
    say(&format!("{made} ok"));
    stay();
}

/// Touches `mebibytes` of memory; says how far it came at each 8.
fn eat_memory(mebibytes: usize) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for count in 1..=mebibytes {
        held.push(vec![1; 1 << 20]);
        if count % 8 == 0 {
            say(&count.to_string());
        }
    }
    say("ok");
    stay();
}

/// Takes up to `n` pages of 2 MiB; says how many there were.
fn huge_pages(n: u32) {
    const SIZE: usize = 2 << 20;
    for made in 0..n {
        let flags =
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, which touches nothing that is there.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), SIZE, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            say(&format!("{made} {:?}", nix::errno::Errno::last()));
            return stay();
        }
        // SAFETY: the page has just been mapped for writing, and nobody else knows it.
        unsafe { page.cast::<u8>().write(1) };
    }
    say(&format!("{n} ok"));
    stay();
}

/// Accepts on a port of loopback (0: any) and says which.
fn listen(port: u16) {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(listener) => {
            let port = listener
                .local_addr()
                .map(|address| address.port())
                .unwrap_or_default();
            say(&format!("listening {port}"));
            for connection in listener.incoming() {
                drop(connection);
            }
        }
        Err(error) => say(&format!("{error}")),
    }
}

/// Leaves a grandchild in a session of its own that ignores SIGTERM, and ends; the grandchild
/// writes its pid to `file`.
fn double_fork(file: &str) {
    // SAFETY: this process has one thread.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        setsid().expect("a new child leads no group");
        // SAFETY: this process has one thread.
        if let Ok(ForkResult::Child) = unsafe { fork() } {
            std::fs::write(file, std::process::id().to_string()).expect("the file can be written");
            ignore_term();
        }
        std::process::exit(0);
    }
}

fn ignore_term() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.thread_block().expect("a mask of one signal");
    say("deaf");
    stay();
}
