//! The attacks that the default box has to withstand, each tried from inside.

use crate::attempt;
use crate::boxed::boxed;
use crate::fixture::{Case, config, next, outcome, shell, wait};
use sandbox::Config;
use sandbox::config::Bind;
use sandbox::status::{Message, receive};

/// As `launch try ATTACK,ARGUMENT… …` this binary is the probe: prints an answer for each.
pub(crate) fn try_if_asked() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().map(String::as_str) != Some("try") {
        return;
    }
    for word in &words[1..] {
        let parts: Vec<&str> = word.split(',').collect();
        let answer = attempt::attempt(parts[0], &parts[1..]).unwrap();
        println!("{word} {}", attempt::word(&answer));
    }
    std::process::exit(0);
}

/// The box of `base` with the probe as its command.
pub(crate) fn probe(base: Config, attacks: &[&str]) -> Vec<(String, String)> {
    let own = std::env::current_exe().unwrap();
    let words = [&[own.to_str().unwrap(), "try"], attacks].concat();
    let mut base = base;
    if let Some(walls) = base.walls.as_mut().filter(|walls| walls.root.is_host()) {
        // Where the checkout lies in a place that the box hides.
        walls.binds.push(Bind {
            source: own.clone(),
            target: own.clone(),
            read_only: true,
            optional: false,
            recursive: false,
        });
    }
    let outcome = outcome(&Config {
        process: config(&words).process,
        ..base
    });
    assert_eq!(outcome.failure, None);
    assert_eq!(
        outcome.status.unwrap().code(),
        Some(0),
        "{}",
        outcome.stderr
    );
    let answers = outcome
        .stdout
        .lines()
        .filter_map(|line| line.rsplit_once(' '));
    answers
        .map(|(attack, answer)| (attack.to_owned(), answer.to_owned()))
        .collect()
}

/// Everything but what a file system or a socket decides by its name.
const CALLS: &[&str] = &[
    "mount",
    "umount,/tmp",
    "remount-rw,/",
    "remount-rw,/proc/sys",
    "open-tree",
    "fsopen,tmpfs",
    "pivot-root",
    "chroot,/tmp",
    "unshare,user",
    "unshare,mount",
    "unshare,pid",
    "unshare,net",
    "clone-user",
    "setns",
    "tiocsti",
    "tiocsti-high",
    "tioclinux",
    "pidfd-getfd",
    "keyctl",
    "add-key",
    "bpf",
    "io-uring",
    "userfaultfd",
    "perf",
    "fanotify",
    "open-by-handle",
    "kexec",
    "reboot",
    "init-module",
    "swapon",
    "quotactl",
    "syslog",
    "settime",
    "sethostname",
    "personality",
    "sched-fifo",
    "ptrace,1",
    "process-vm-readv,1",
    "kcmp,1",
    "mknod,/tmp/node",
    "x32",
    "int80",
    "unknown-number",
    "socket,17,3",
];

pub(crate) const CASES: &[Case] = &[
    ("no_forbidden_call_is_let_in_the_default_box", || {
        // A filter answers before the kernel looks at the arguments.
        let let_through: Vec<_> = probe(boxed(""), CALLS)
            .into_iter()
            .filter(|(_, answer)| !["EPERM", "ENOSYS"].contains(&answer.as_str()))
            .collect();
        assert_eq!(let_through, []);
    }),
    ("a_priority_cannot_be_raised", || {
        let answers = probe(boxed(""), &["nice,-5", "oom-score,-500"]);
        assert!(
            answers.iter().all(|(_, answer)| answer == "EACCES"),
            "{answers:?}"
        );
    }),
    ("a_new_process_by_clone3_falls_back_to_clone", || {
        assert_eq!(probe(boxed(""), &["clone3"])[0].1, "ENOSYS");
    }),
    ("no_way_into_the_kernel_is_open_for_writing", || {
        let files = [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sysrq-trigger",
            "/proc/sys/fs/binfmt_misc/register",
            "/sys/kernel/uevent_helper",
            "/proc/irq/default_smp_affinity",
            "/sys/fs/cgroup/memory/release_agent",
            "/sys/fs/cgroup/memory/cgroup.procs",
            "/dev/mem",
            "/dev/kmsg",
            "/dev/vda",
            "/dev/fuse",
            "/dev/loop-control",
            "/proc/kcore",
            "/proc/1/mem",
            "/etc/passwd",
        ];
        let attacks: Vec<String> = files
            .iter()
            .map(|file| format!("open-write,{file}"))
            .collect();
        let attacks: Vec<&str> = attacks.iter().map(String::as_str).collect();
        for (attack, answer) in probe(boxed(""), &attacks) {
            let refused = ["EROFS", "EACCES", "EPERM", "ENOENT"].contains(&answer.as_str());
            assert!(refused, "{attack}: {answer}");
        }
    }),
    ("what_is_hidden_cannot_be_read", || {
        for (attack, answer) in probe(
            boxed(""),
            &[
                "read,/proc/kcore",
                "read,/proc/keys",
                "read,/proc/kmsg",
                "read,/proc/timer_list",
                "create,/root/x",
                "create,/home/x",
            ],
        ) {
            assert!(
                ["EACCES", "ENOENT", "EROFS"].contains(&answer.as_str()),
                "{attack}: {answer}"
            );
        }
    }),
    ("a_setuid_bit_cannot_be_set", || {
        let mut base = boxed("");
        base.walls.as_mut().unwrap().private_tmp = true;
        let answers = probe(base, &["write,/tmp/x,text", "chmod-suid,/tmp/x"]);
        assert_eq!(answers[0].1, "ok");
        assert_eq!(answers[1].1, "EPERM");
    }),
    ("the_executor_cannot_be_seen_through_proc_1", || {
        for (attack, answer) in probe(
            boxed(""),
            &[
                "open-write,/proc/1/exe",
                "read,/proc/1/exe",
                "read,/proc/1/environ",
                "list,/proc/1/root",
            ],
        ) {
            assert_eq!(answer, "EACCES", "{attack}");
        }
    }),
    ("a_process_outside_cannot_be_reached_by_number", || {
        let own = std::process::id();
        let attack = format!("kill,{own}");
        assert_eq!(probe(boxed(""), &[&attack])[0].1, "ESRCH");
    }),
    ("no_standard_terminal_is_inherited", || {
        assert_eq!(probe(boxed(""), &["open-write,/dev/tty"])[0].1, "ENXIO");
    }),
    (
        "a_caller_that_dies_during_the_set_up_leaves_no_process",
        || {
            // What the inner caller started holds the pipe: reading ends when all of it is gone. A box that
            // was quicker than the caller's death has stood, and its program run.
            let text = without_a_caller("inner::launch_and_die_at_once");
            assert!(["", "alive\n"].contains(&text.as_str()), "{text}");
        },
    ),
    ("a_box_that_is_to_die_with_its_caller_does", || {
        assert_eq!(without_a_caller("inner::run_and_die"), "");
    }),
];

fn without_a_caller(case: &str) -> String {
    let own = std::env::current_exe().unwrap();
    let answer = outcome(&shell(&format!("{} --exact {case}; true", own.display())));
    assert_eq!(answer.failure, None);
    answer.stdout
}

/// A box on our own standard output.
fn start(script: &str, die_with_parent: bool) -> sandbox::Launched {
    use std::os::fd::AsFd;
    let mut config = boxed(script);
    config.process.die_with_parent = die_with_parent;
    let plan = crate::fixture::plan(&config);
    let null = std::fs::File::open("/dev/null").unwrap();
    let out = std::io::stdout();
    let files = sandbox::Files {
        stdin: null.as_fd(),
        stdout: out.as_fd(),
        stderr: null.as_fd(),
        passed: &[],
        held: &[],
        own: &[],
    };
    crate::fixture::launcher().launch(&plan, files).unwrap()
}

fn die() -> ! {
    let ourselves = rustix::process::getpid();
    rustix::process::kill_process(ourselves, rustix::process::Signal::KILL).unwrap();
    unreachable!("SIGKILL");
}

pub(crate) const INNER: &[Case] = &[
    ("inner::launch_and_die_at_once", || {
        use std::os::fd::AsFd;
        for _ in 0..20 {
            let launched = start("echo alive", false);
            let status = launched.status.unwrap();
            if receive(status.as_fd()).unwrap().is_none() {
                die();
            }
            wait(&launched.pidfd);
        }
        println!("every box stood before it could be left");
    }),
    ("inner::run_and_die", || {
        let launched = start("exec sleep 1000", true);
        let status = launched.status.unwrap();
        while !matches!(next(&status), Message::Executed) {}
        die();
    }),
];
