//! Boxes with a terminal.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use sandbox::config::Walls;
use sandbox::pty::{Relay, Size, Terminal};
use sandbox::session::spawn;
use sandbox::{Config, Files};

use crate::fixture::Case;
use crate::session::options;

const SMALL: Size = Size {
    rows: 10,
    columns: 37,
};

/// A box that leads a session with a terminal.
fn with_terminal(script: &str) -> Config {
    let mut config = Config::boxed("web", ["/bin/sh", "-c", script]);
    config.process.controlling_terminal = true;
    config
}

/// Reads until the text has been seen.
fn read_until(from: &mut File, wanted: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 256];
    while !text.contains(wanted) {
        match from.read(&mut bytes) {
            Ok(0) | Err(_) => panic!("{wanted:?} was not seen in {text:?}"),
            Ok(count) => text.push_str(&String::from_utf8_lossy(&bytes[..count])),
        }
    }
    text
}

/// Reads until the second text has been seen behind the first.
fn read_until_then(from: &mut File, first: &str, second: &str) {
    let text = read_until(from, first);
    let behind = text.split_once(first).map_or("", |(_, behind)| behind);
    if !behind.contains(second) {
        read_until(from, second);
    }
}

/// What is left until the box has closed its end.
fn rest_of(from: &mut File) -> String {
    let mut text = String::new();
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

/// Jobs of an interactive shell are stopped and interrupted by keys. What is typed is echoed,
/// so the words waited for are not in it as such.
fn stop_and_interrupt(keys: &mut File, shown: &mut File) {
    keys.write_all(b"sh -c 'echo re\\ady; exec sleep 1000'\n")
        .unwrap();
    read_until(shown, "ready");
    keys.write_all(b"\x1a").unwrap();
    read_until_then(shown, "Stopped", "$ ");
    keys.write_all(b"kill -9 %1; sh -c 'echo aga\\in; exec sleep 1000'\n")
        .unwrap();
    read_until(shown, "again");
    // What is typed before the key is heard of is lost.
    keys.write_all(b"\x03").unwrap();
    read_until(shown, "$ ");
    keys.write_all(b"echo ba\\ck\n").unwrap();
    read_until(shown, "back");
}

/// A terminal as somebody sits at one: what is typed and shown, and the end that programs have.
fn outer() -> (File, OwnedFd) {
    let terminal = Terminal::new(SMALL).unwrap();
    let programs = terminal.box_end().try_clone_to_owned().unwrap();
    (File::from(terminal.into_caller_end()), programs)
}

fn own_pid() -> Pid {
    Pid::from_raw(std::process::id().try_into().unwrap()).unwrap()
}

/// The shell there stops a job and interrupts one, and is told to end with 6; what it shows from there on.
fn does_job_control(terminal: Terminal) -> File {
    let mut keys = File::from(terminal.into_caller_end());
    let mut shown = keys.try_clone().unwrap();
    let first = read_until(&mut shown, "$ ");
    assert!(!first.contains("job control"), "{first}");
    stop_and_interrupt(&mut keys, &mut shown);
    // Twice: who holds the killed job for a stopped one still speaks of that at first.
    keys.write_all(b"exit 6\nexit 6\n").unwrap();
    shown
}

pub(crate) const CASES: &[Case] = &[
    ("a_box_has_a_terminal_of_its_own_with_a_size", || {
        let terminal = Terminal::new(SMALL).unwrap();
        let script = "stty size; test -t 0 && echo 0; exec 0</dev/null; : < /dev/tty && echo tty";
        let session = spawn(&with_terminal(script), terminal.files(), options()).unwrap();
        let mut shown = File::from(terminal.into_caller_end());
        assert_eq!(rest_of(&mut shown), "10 37\r\n0\r\ntty\r\n");
        assert_eq!(session.wait().unwrap().exit_code(), 0);
    }),
    ("an_interactive_shell_in_a_box_does_job_control", || {
        let terminal = Terminal::new(SMALL).unwrap();
        let mut config = Config::boxed("web", ["/bin/sh", "-i"]);
        config.process.controlling_terminal = true;
        config.process.environment.push(("PS1".into(), "$ ".into()));
        let session = spawn(&config, terminal.files(), options()).unwrap();
        let _terminal = does_job_control(terminal);
        assert_eq!(session.wait().unwrap().exit_code(), 6);
    }),
    ("a_terminal_that_is_hung_up_ends_the_program", || {
        let terminal = Terminal::new(SMALL).unwrap();
        let script = "trap 'exit 5' HUP; echo up; while :; do sleep 0.01; done";
        let session = spawn(&with_terminal(script), terminal.files(), options()).unwrap();
        let mut shown = File::from(terminal.into_caller_end());
        read_until(&mut shown, "up");
        drop(shown);
        assert_eq!(session.wait().unwrap().exit_code(), 5);
    }),
    ("a_change_of_size_reaches_the_program", || {
        let terminal = Terminal::new(SMALL).unwrap();
        let script = "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.01; done";
        let session = spawn(&with_terminal(script), terminal.files(), options()).unwrap();
        let caller = terminal;
        let ours = caller.box_end().try_clone_to_owned().unwrap();
        let mut shown = {
            caller
                .resize(Size {
                    rows: 10,
                    columns: 37,
                })
                .unwrap();
            File::from(caller.into_caller_end())
        };
        read_until(&mut shown, "up");
        let size = rustix::termios::Winsize {
            ws_row: 50,
            ws_col: 132,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&ours, size).unwrap();
        drop(ours);
        assert_eq!(rest_of(&mut shown).trim(), "50 132");
        session.wait().unwrap();
    }),
    (
        "a_relay_carries_keys_and_output_and_gives_the_terminal_back",
        || {
            let (mut somebody, programs) = outer();
            let before = tcgetattr(&programs).unwrap();
            let terminal = Terminal::like(programs.as_fd()).unwrap();
            let script = "stty size; read line; echo \"got $line\"; exit 4";
            let session = spawn(&with_terminal(script), terminal.files(), options()).unwrap();
            let relay = Relay::new(programs.as_fd(), programs.as_fd()).unwrap();
            let raw = tcgetattr(&programs).unwrap();
            assert!(
                !raw.local_modes
                    .contains(LocalModes::ICANON | LocalModes::ECHO)
            );
            somebody.write_all(b"hello\r").unwrap();
            let outcome = relay.run(session, terminal).unwrap();
            assert_eq!(outcome.exit_code(), 4);
            let text = read_until(&mut somebody, "got hello");
            assert!(text.contains("10 37"), "{text}");
            let after = tcgetattr(&programs).unwrap();
            assert_eq!(after.local_modes, before.local_modes);
            assert_eq!(after.input_modes, before.input_modes);
            assert_eq!(after.output_modes, before.output_modes);
        },
    ),
    ("a_relay_gives_a_new_size_and_signals_on", || {
        let (mut somebody, programs) = outer();
        let before = tcgetattr(&programs).unwrap();
        let terminal = Terminal::like(programs.as_fd()).unwrap();
        let script = "trap 'stty size; kill -USR1 $$' WINCH; trap 'echo term; exit 3' TERM; \
                      trap 'kill -TERM $$' USR1; echo up >&3; while :; do sleep 0.01; done";
        let (mut up, end) = pipe().unwrap();
        let files = Files {
            passed: &[(3, end.as_fd())],
            ..terminal.files()
        };
        let session = spawn(&with_terminal(script), files, options()).unwrap();
        // What is sent before the traps stand is lost.
        up.read_exact(&mut [0; 3]).unwrap();
        let relay = Relay::new(programs.as_fd(), programs.as_fd()).unwrap();
        let size = rustix::termios::Winsize {
            ws_row: 3,
            ws_col: 4,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&programs, size).unwrap();
        // Nobody's terminal but a test's: the kernel sends it to a foreground group only.
        kill_process(own_pid(), Signal::WINCH).unwrap();
        let outcome = relay.run(session, terminal).unwrap();
        assert_eq!(outcome.exit_code(), 3);
        let text = read_until(&mut somebody, "term");
        assert!(text.contains("3 4"), "{text}");
        assert_eq!(
            tcgetattr(&programs).unwrap().local_modes,
            before.local_modes
        );
    }),
    ("a_relay_reads_a_pipe_to_its_end", || {
        let (input, mut keys) = pipe().unwrap();
        let (mut shown, output) = pipe().unwrap();
        let terminal = Terminal::new(SMALL).unwrap();
        let session = spawn(
            &with_terminal("cat; echo over"),
            terminal.files(),
            options(),
        )
        .unwrap();
        let relay = Relay::new(input.as_fd(), output.as_fd()).unwrap();
        drop(output);
        keys.write_all(b"one\n").unwrap();
        drop(keys);
        let outcome = relay.run(session, terminal).unwrap();
        assert_eq!(outcome.exit_code(), 0);
        let mut text = String::new();
        shown.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("one\r\nover\r\n"), "{text:?}");
    }),
    ("what_a_box_types_stays_in_its_own_terminal", || {
        // CVE-2017-5226: with no filter in the way, and the outer terminal at hand as descriptor 3.
        let (somebody, programs) = outer();
        let terminal = Terminal::new(SMALL).unwrap();
        let own = std::env::current_exe().unwrap();
        for walls in [Walls::minimal_box(), Walls::default_box()] {
            let mut config = with_terminal("");
            config.process.argv = vec![own.clone().into(), "try".into(), "tiocsti".into()];
            config.walls = Some(walls);
            config.walls.as_mut().unwrap().binds = vec![sandbox::config::Bind {
                source: own.clone(),
                target: own.clone(),
                read_only: true,
                optional: false,
                recursive: false,
            }];
            let session = spawn(&config, terminal.files(), options()).unwrap();
            session.wait().unwrap();
            // Without a session of its own terminal it has no right to type into another.
            config.process.controlling_terminal = false;
            let files = Files {
                stdin: programs.as_fd(),
                ..terminal.files()
            };
            config
                .walls
                .as_mut()
                .unwrap()
                .capability_bounding_set
                .clear();
            spawn(&config, files, options()).unwrap().wait().unwrap();
        }
        assert_eq!(rustix::io::ioctl_fionread(&programs).unwrap(), 0);
        drop(somebody);
    }),
    (
        "a_shell_that_shares_the_terminal_does_job_control_there",
        || {
            // A session leader of its own stands for the caller's shell, this program started once more.
            let terminal = Terminal::new(SMALL).unwrap();
            let own = std::env::current_exe().unwrap();
            let mut config = Config::bare(
                "caller",
                [
                    own.into_os_string(),
                    "inner::a_caller_with_a_terminal".into(),
                    "--exact".into(),
                ],
            );
            config.process.controlling_terminal = true;
            let session = spawn(&config, terminal.files(), options()).unwrap();
            let mut shown = does_job_control(terminal);
            read_until(&mut shown, "the box gave 6");
            session.wait().unwrap();
        },
    ),
    (
        "a_box_in_the_foreground_is_stopped_and_continued_as_a_job",
        || {
            let terminal = Terminal::new(SMALL).unwrap();
            let mut config = Config::bare("caller", ["bash", "--norc", "--noprofile", "-i"]);
            config.process.controlling_terminal = true;
            config.process.environment.push(("PS1".into(), "$ ".into()));
            let session = spawn(&config, terminal.files(), options()).unwrap();
            let mut keys = File::from(terminal.into_caller_end());
            let mut shown = keys.try_clone().unwrap();
            read_until(&mut shown, "$ ");
            let own = std::env::current_exe().unwrap();
            let line = format!("{} inner::a_job --exact\n", own.display());
            keys.write_all(line.as_bytes()).unwrap();
            read_until(&mut shown, "ready");
            for _ in 0..3 {
                keys.write_all(b"\x1a").unwrap();
                read_until_then(&mut shown, "Stopped", "$ ");
                keys.write_all(b"fg\n").unwrap();
                // By name: the box is in the foreground when it goes on.
                read_until(&mut shown, "goes on in the foreground");
            }
            keys.write_all(b"\x03").unwrap();
            read_until_then(&mut shown, "the box gave 130", "$ ");
            keys.write_all(b"exit 6\n").unwrap();
            assert_eq!(session.wait().unwrap().exit_code(), 6);
        },
    ),
    ("a_terminal_leaves_no_process_and_no_descriptor", || {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = count();
        for _ in 0..3 {
            let terminal = Terminal::new(SMALL).unwrap();
            let session = spawn(&with_terminal("exit 0"), terminal.files(), options()).unwrap();
            let (input, keys) = pipe().unwrap();
            let relay = Relay::new(input.as_fd(), rustix::stdio::stderr()).unwrap();
            drop(keys);
            relay.run(session, terminal).unwrap();
        }
        assert_eq!(count(), before);
        let left = rustix::process::wait(WaitOptions::NOHANG);
        assert_eq!(left.err(), Some(rustix::io::Errno::CHILD));
    }),
];

/// Tells when it goes on, and whether it is in the foreground then.
const GOES_ON: &str = r#"use POSIX; $| = 1; $SIG{CONT} = sub {
    print "goes on in the ", (tcgetpgrp(0) == getpgrp ? "foreground" : "background"), "\n"
}; print "ready\n"; select undef, undef, undef, 0.01 while 1"#;

/// Runs it in a box that shares the caller's terminal.
fn in_this_terminal(argv: &[&str]) {
    use sandbox::config::Root;
    use sandbox::session::{Forwarder, ShellConfig};
    let mut shell = ShellConfig::new(Root::Host);
    shell.config.process.argv = argv.iter().map(Into::into).collect();
    shell
        .config
        .process
        .environment
        .push(("PS1".into(), "$ ".into()));
    let forwarder = Forwarder::new().unwrap();
    let session = spawn(&shell.config, Files::of_caller(), options()).unwrap();
    let outcome = session.wait_forwarding(&forwarder).unwrap();
    println!("the box gave {}", outcome.exit_code());
}

pub(crate) const INNER: &[Case] = &[
    ("inner::a_caller_with_a_terminal", || {
        in_this_terminal(&["/bin/sh", "-i"]);
    }),
    ("inner::a_job", || {
        in_this_terminal(&["/usr/bin/perl", "-e", GOES_ON]);
    }),
];
