//! Shells, jobs and the keys of a terminal, without `--new-session`: as bubblewrap leaves them.
//!
//! An interactive shell stands for the caller's. What is typed is echoed, so the words that are
//! waited for are not typed as such.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use sandbox::pty::{Size, Terminal};

use super::case::{Subject, ours, subjects};
use crate::fixture::Deadline;
use crate::needs;

const SHELL: &str = "bash --norc --noprofile --noediting -i";

/// It does not read: who is stopped while it reads may take a line that is meant for the shell. Nor does it
/// fork: a child that is stopped before its `execve` holds up a parent that cannot be.
const GOES_ON: &str = r#"perl -e '$| = 1; $SIG{CONT} = sub { print "go", "es on\n" }; print "re", "ady\n"; select undef, undef, undef, 0.01 while 1'"#;

/// Somebody at a terminal.
struct Person<'a> {
    subject: &'a Subject,
    shell: Child,
    terminal: File,
    /// What was shown and not looked at.
    unseen: String,
}

impl<'a> Person<'a> {
    fn sits_down(subject: &'a Subject) -> Self {
        let terminal = Terminal::new(Size {
            rows: 24,
            columns: 200,
        })
        .unwrap();
        let end = || Stdio::from(terminal.box_end().try_clone_to_owned().unwrap());
        let shell = Command::new("setsid")
            .arg("--ctty")
            .args(SHELL.split(' '))
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C")
            .env("PS1", "out$ ")
            .env("B", &subject.program)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .current_dir("/")
            .spawn()
            .unwrap();
        let mut person = Self {
            subject,
            shell,
            terminal: File::from(terminal.into_caller_end()),
            unseen: String::new(),
        };
        person.sees("out$ ");
        person
    }

    fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Looks at what is shown up to this text, and gives it.
    #[track_caller]
    fn sees(&mut self, wanted: &str) -> String {
        let deadline = Deadline::new();
        loop {
            if let Some(at) = self.unseen.find(wanted) {
                let rest = self.unseen.split_off(at + wanted.len());
                return std::mem::replace(&mut self.unseen, rest);
            }
            let mut bytes = [0; 1024];
            let count = match deadline.readable(&self.terminal) {
                true => self.terminal.read(&mut bytes).unwrap_or(0),
                false => 0,
            };
            if count == 0 {
                let name = self.subject.name;
                panic!("{name}: {wanted:?} was not seen in {:?}", self.unseen);
            }
            self.unseen
                .push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    /// A line for a `cat`, which is echoed and then repeated.
    #[track_caller]
    fn is_echoed(&mut self, line: &str) {
        self.types(&format!("{line}\n"));
        self.sees(&format!("{line}\r\n"));
        self.sees(&format!("{line}\r\n"));
    }

    /// What the shell says to this.
    #[track_caller]
    fn finds(&mut self, expression: &str, value: &str, prompt: &str) {
        self.types(&format!("echo val\\ue={expression}\n"));
        self.sees("value=");
        let seen = self.sees("\r\n");
        assert_eq!(seen.trim_end(), value, "{}", self.subject.name);
        self.sees(prompt);
    }

    /// Ctrl-C; what is typed before it is heard of is lost.
    #[track_caller]
    fn interrupts(&mut self, prompt: &str) {
        self.types("\x03");
        self.sees(prompt);
    }

    /// Ctrl-Z.
    #[track_caller]
    fn stops(&mut self, prompt: &str) {
        self.types("\x1a");
        self.sees("Stopped");
        self.sees(prompt);
    }

    /// The job in the foreground again.
    #[track_caller]
    fn continues(&mut self) {
        self.types("fg\n");
        self.sees("goes on\r\n");
    }

    #[track_caller]
    fn is_stopped_in_the_background(&mut self, command: &str, prompt: &str) {
        self.types(&format!("{command} &\n"));
        self.sees(prompt);
        self.types("wait; jobs; echo a\\ll\n");
        let seen = self.sees("all\r\n");
        assert!(seen.contains("Stopped"), "{}: {seen}", self.subject.name);
        self.sees(prompt);
    }

    #[track_caller]
    fn leaves(mut self) {
        self.types("exit 3\n");
        assert_eq!(self.shell.wait().unwrap().code(), Some(3));
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        // Only of use where a test fails.
        drop((self.shell.kill(), self.shell.wait()));
    }
}

const BOXES: [&str; 3] = [
    "--dev-bind / /",
    "--unshare-pid --dev-bind / /",
    "--unshare-all --dev-bind / / --proc /proc --dev /dev",
];

/// Each launcher with each box.
fn everywhere(act: impl Fn(&mut Person<'_>, &str)) {
    if !["bash", "setsid", "perl"]
        .iter()
        .all(|name| needs::program(name))
    {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut all = subjects(place.path());
    all.push(ours(place.path(), "vb"));
    for subject in &all {
        for options in BOXES {
            let mut person = Person::sits_down(subject);
            act(&mut person, options);
            person.leaves();
        }
    }
}

#[test]
fn an_interactive_shell_in_a_box_does_job_control() {
    everywhere(|person, options| {
        person.types(&format!("PS1='in$ ' $B {options} {SHELL}\n"));
        let first = person.sees("in$ ");
        assert!(!first.contains("job control"), "{first}");
        person.types("sh -c 'echo re\\ady; exec sleep 1000'\n");
        person.sees("ready\r\n");
        person.interrupts("in$ ");
        person.finds("$?", "130", "in$ ");
        // Stopped, looked at, and continued.
        person.types(&format!("{GOES_ON}\n"));
        person.sees("ready\r\n");
        person.stops("in$ ");
        person.finds("$?", "148", "in$ ");
        person.continues();
        person.interrupts("in$ ");
        person.finds("$?", "130", "in$ ");
        // In the background, where it may neither read nor, if told so, write.
        person.is_stopped_in_the_background("cat", "in$ ");
        person.types("fg\n");
        person.is_echoed("three");
        person.types("\x04");
        person.sees("in$ ");
        person.types("stty tostop\n");
        person.sees("in$ ");
        person.is_stopped_in_the_background("(echo from th\\ere)", "in$ ");
        person.types("stty -tostop; fg\n");
        person.sees("from there\r\n");
        person.sees("in$ ");
        person.types("exit 6\n");
        person.sees("out$ ");
        person.finds("$?", "6", "out$ ");
    });
}

#[test]
fn a_box_is_a_job_of_the_shell_that_starts_it() {
    everywhere(|person, options| {
        person.types(&format!("$B {options} {GOES_ON}\n"));
        person.sees("ready\r\n");
        for _ in 0..2 {
            person.stops("out$ ");
            person.finds("$?", "148", "out$ ");
            person.continues();
        }
        person.interrupts("out$ ");
        person.finds("$?", "130", "out$ ");
        person.is_stopped_in_the_background(&format!("$B {options} cat"), "out$ ");
        person.types("fg\n");
        person.is_echoed("four");
        person.types("\x04");
        person.sees("out$ ");
        person.finds("$?", "0", "out$ ");
    });
}

#[test]
fn a_new_size_of_the_window_reaches_a_box() {
    everywhere(|person, options| {
        let script = r#"trap "stty size; exit 4" WINCH; echo re\ady; while :; do sleep 0.01; done"#;
        person.types(&format!("$B {options} sh -c '{script}'\n"));
        person.sees("ready\r\n");
        let size = rustix::termios::Winsize {
            ws_row: 33,
            ws_col: 77,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&person.terminal, size).unwrap();
        person.sees("33 77\r\n");
        person.sees("out$ ");
        person.finds("$?", "4", "out$ ");
    });
}
