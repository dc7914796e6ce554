//! A service that does what its arguments say, one after the other.
//!
//! `say:TEXT` a line on stdout; `tell:TEXT` a datagram (`;` for a new line); `notify:TEXT` the same, and herd has
//! heard it; `ready` the same by the sd-notify crate; `gate:FIFO` waits until the fifo has a line; `hold` (block SIGTERM);
//! `fd:N` a newline to descriptor N; `daemon:PIDFILE` the rest runs as a daemon, and this process
//! exits once the daemon wrote its file; `orphan:FILE` the rest runs in a session of its own and
//! its pid is in the file; `child` the rest runs as a child; `tcp:PORT`, `unix:PATH`,
//! `http:PORT:STATUS` answer for ever in a thread; `port:FILE` takes a free TCP port, writes it
//! there and answers; `store:NAME` gives a descriptor to the store; `fds` says which descriptors
//! came by LISTEN_FDS; `lines:N` prints lines fast; `exit:N`, `die:SIGNAL`, `sleep` for ever.
#![allow(
    clippy::disallowed_methods,
    clippy::zombie_processes,
    reason = "it starts programs badly on purpose: what herd has to clean up"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio, exit};
use std::thread;

use nix::sys::signal::{SigSet, Signal, raise};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut rest = words.as_slice();
    while let Some((word, more)) = rest.split_first() {
        rest = more;
        let (verb, value) = word.split_once(':').unwrap_or((word, ""));
        match verb {
            "say" => say(value),
            "tell" => tell(&value.replace(';', "\n")),
            "notify" => {
                tell(&value.replace(';', "\n"));
                barrier();
            }
            "ready" => {
                sd_notify::notify(&[sd_notify::NotifyState::Ready]).unwrap();
                barrier();
            }
            "gate" => gate(value),
            "hold" => SigSet::from(Signal::SIGTERM).thread_block().unwrap(),
            "fd" => {
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .open(format!("/dev/fd/{value}"));
                file.as_mut().unwrap().write_all(b"\n").unwrap();
            }
            "daemon" => {
                detached(value, rest);
                exit(0);
            }
            "orphan" => {
                detached(value, rest);
                rest = &[];
            }
            "detach" => {
                rustix::process::setsid().unwrap();
                write_file(value, &format!("{}\n", std::process::id()));
                println!("detached");
            }
            "child" => {
                let mut child = myself(rest).spawn().unwrap();
                exit(child.wait().unwrap().code().unwrap_or(1));
            }
            "tcp" => serve_tcp(
                TcpListener::bind(("127.0.0.1", number(value))).unwrap(),
                None,
            ),
            "port" => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
                write_file(
                    value,
                    &format!("{}\n", listener.local_addr().unwrap().port()),
                );
                serve_tcp(listener, None);
            }
            "http" => {
                let (port, status) = value.split_once(':').unwrap();
                let listener = TcpListener::bind(("127.0.0.1", number(port))).unwrap();
                serve_tcp(listener, Some(status.to_owned()));
            }
            "unix" => {
                let listener = UnixListener::bind(value).unwrap();
                thread::spawn(move || listener.incoming().for_each(drop));
            }
            "store" => {
                let file = fs::File::open("/etc/hostname").unwrap();
                let words = [
                    sd_notify::NotifyState::FdStore,
                    sd_notify::NotifyState::FdName(value),
                ];
                sd_notify::notify_with_fds(&words, &[file.as_fd()]).unwrap();
            }
            "fds" => {
                let variable = |name| std::env::var(name).unwrap_or_default();
                say(&format!(
                    "fds {} {}",
                    variable("LISTEN_FDS"),
                    variable("LISTEN_FDNAMES")
                ));
            }
            "lines" => {
                let mut out = std::io::stdout().lock();
                for count in 1..=u64::from(number(value)) {
                    writeln!(out, "line {count}").unwrap();
                }
                out.flush().unwrap();
            }
            "exit" => exit(value.parse().unwrap()),
            "die" => raise(value.parse::<Signal>().unwrap()).unwrap(),
            "sleep" => loop {
                thread::park();
            },
            other => panic!("no such verb: {other}"),
        }
    }
}

fn number(text: &str) -> u16 {
    text.parse().unwrap()
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().unwrap();
}

/// What the protocol says, without a library.
fn tell(text: &str) {
    let text = text.replace("$PID", &std::process::id().to_string());
    let path = std::env::var_os("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    UnixDatagram::unbound()
        .unwrap()
        .send_to(text.as_bytes(), path)
        .unwrap();
}

/// Returns once all that was said has been heard (`sd_notify_barrier(3)`): the word of a process
/// that has ended cannot be told from a stranger's.
fn barrier() {
    let (mut read, write) = std::io::pipe().unwrap();
    let words = [sd_notify::NotifyState::Custom("BARRIER=1")];
    sd_notify::notify_with_fds(&words, &[write.as_fd()]).unwrap();
    drop(write);
    read.read_to_end(&mut Vec::new()).unwrap();
}

fn gate(path: &str) {
    let mut byte = [0];
    fs::File::open(path).unwrap().read_exact(&mut byte).unwrap();
}

fn write_file(path: &str, text: &str) {
    let draft = format!("{path}.draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

fn myself(arguments: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments);
    command
}

/// Starts the rest in a session of its own, as a child of nobody once this process ends, and
/// returns when it has written its pid.
fn detached(file: &str, rest: &[String]) {
    let mut command = myself(&[format!("detach:{file}")]);
    command.args(rest).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut word = [0; 9];
    child.stdout.take().unwrap().read_exact(&mut word).unwrap();
}

/// Answers each connection: an HTTP status, or nothing.
fn serve_tcp(listener: TcpListener, status: Option<String>) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if let Some(status) = &status {
                let mut request = [0; 1024];
                let read = stream.read(&mut request);
                let answer = format!("HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n");
                if read.is_ok() {
                    drop(stream.write_all(answer.as_bytes()));
                }
            }
        }
    });
}
