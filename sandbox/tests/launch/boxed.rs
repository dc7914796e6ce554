//! Boxes as root, seen from inside.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use sandbox::config::{Bind, BoxPath, Directory, Identity, Keyring, Network, Root, Walls};
use sandbox::status::Message;
use sandbox::{Carrier, Config, Files};

use crate::fixture::{Case, launcher, next, outcome, outcome_of, plan, shell, wait};

pub(crate) fn boxed(script: &str) -> Config {
    Config {
        walls: Some(Walls::default_box()),
        ..shell(script)
    }
}

fn with(script: &str, change: impl FnOnce(&mut Walls)) -> Config {
    let mut config = boxed(script);
    change(config.walls.as_mut().unwrap());
    config
}

/// What the box prints; nothing may fail and nothing be complained about.
fn says(config: &Config) -> String {
    let outcome = outcome(config);
    assert_eq!(outcome.failure, None);
    assert_eq!(outcome.stderr, "");
    outcome.stdout
}

/// A root that holds the host's programs and nothing else.
pub(crate) fn small_root(place: &Path) -> Config {
    for name in ["usr", "proc", "dev", "tmp", "etc"] {
        fs::create_dir(place.join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), place.join(name)).unwrap();
    }
    with("ls /", |walls| {
        walls.root = Root::Directory(place.to_owned());
        walls.binds = vec![Bind {
            source: "/usr".into(),
            target: "/usr".into(),
            read_only: true,
            optional: false,
            recursive: true,
        }];
    })
}

fn count(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

fn lines_of(file: &str) -> usize {
    fs::read_to_string(file).unwrap().lines().count()
}

pub(crate) const CASES: &[Case] = &[
    ("a_box_runs_its_command_and_tells_its_exit_code", || {
        let plan = plan(&boxed("echo in the box; exit 7"));
        assert_eq!(plan.carrier(), Carrier::Executor);
        let outcome = outcome_of(&plan, &[]);
        assert_eq!(
            (outcome.stdout.as_str(), outcome.stderr.as_str()),
            ("in the box\n", "")
        );
        assert_eq!(outcome.status.unwrap().code(), Some(7));
    }),
    ("a_box_tells_the_signal_that_ended_its_command", || {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(
            outcome(&boxed("kill -9 $$")).status.unwrap().signal(),
            Some(9)
        );
    }),
    ("a_command_that_is_missing_in_the_box_is_named", || {
        let mut config = boxed("");
        config.process.argv = vec!["/usr/bin/nope".into()];
        let failure = outcome(&config).failure.unwrap();
        assert_eq!(
            failure.to_string(),
            "command /usr/bin/nope: no such file or directory"
        );
    }),
    ("a_failure_at_any_step_is_named_and_leaves_nothing", || {
        let plan = plan(&boxed("exit 0"));
        let (fds, mounts) = (count("/proc/self/fd"), lines_of("/proc/self/mountinfo"));
        for n in 1..=plan.steps_len() {
            let failure = outcome_of(&plan.clone().fail_at(n), &[]).failure.unwrap();
            assert_eq!((failure.step, failure.total), (n, plan.steps_len()));
            assert!(
                failure.to_string().ends_with("operation canceled"),
                "{failure}"
            );
            let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
            assert_eq!(
                left.err(),
                Some(rustix::io::Errno::CHILD),
                "a child is left at step {n}"
            );
        }
        assert_eq!(
            (count("/proc/self/fd"), lines_of("/proc/self/mountinfo")),
            (fds, mounts)
        );
    }),
    (
        "only_the_box_is_in_proc_and_the_command_is_below_the_reaper",
        || {
            assert_eq!(
                says(&boxed("echo /proc/[0-9]*; echo $$")),
                "/proc/1 /proc/2\n2\n"
            );
        },
    ),
    ("the_command_can_be_process_1_itself", || {
        let config = with("echo $$; exit 3", |walls| walls.as_pid_1 = true);
        let outcome = outcome(&config);
        assert_eq!(outcome.stdout, "1\n");
        assert_eq!(outcome.status.unwrap().code(), Some(3));
    }),
    ("a_failure_as_process_1_is_named", || {
        let mut config = with("", |walls| walls.as_pid_1 = true);
        config.process.argv = vec!["/nope".into()];
        let failure = outcome(&config).failure.unwrap();
        assert_eq!(
            failure.to_string(),
            "command /nope: no such file or directory"
        );
    }),
    (
        "without_a_pid_namespace_the_executor_becomes_the_command",
        || {
            let config = with("exit 4", |walls| walls.namespaces.pid = false);
            assert_eq!(outcome(&config).status.unwrap().code(), Some(4));
            let mut config = with("", |walls| walls.namespaces.pid = false);
            config.process.argv = vec!["/nope".into()];
            assert!(outcome(&config).failure.unwrap().is_command);
        },
    ),
    ("privileges_are_gone", || {
        let text = says(&boxed("grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status"));
        for line in text.lines() {
            let value = line.split_whitespace().nth(1).unwrap();
            let expected = match line.split(':').next().unwrap() {
                "NoNewPrivs" => "1",
                "Seccomp" => "2",
                _ => "0000000000000000",
            };
            assert_eq!(value, expected, "{line}");
        }
        assert_eq!(text.lines().count(), 7);
    }),
    ("the_tree_is_read_only_with_every_mount_below", || {
        let text = says(&boxed("cut -d' ' -f5,6 /proc/self/mountinfo"));
        let writable: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, options)| options.starts_with("rw"))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(
            writable,
            [
                "/dev/pts",
                "/dev/shm",
                "/dev/mqueue",
                "/proc",
                "/tmp",
                "/var/tmp"
            ]
        );
    }),
    ("a_state_directory_is_writable_and_on_the_host", || {
        let place = tempfile::tempdir_in("/var/lib").unwrap();
        let state = place.path().join("web");
        let mut config = boxed(&format!("echo kept > {}/file", state.display()));
        config.directories = vec![Directory {
            path: state.clone(),
            mode: 0o700,
            writable: true,
            whole: false,
        }];
        assert_eq!(says(&config), "");
        assert_eq!(fs::read_to_string(state.join("file")).unwrap(), "kept\n");
    }),
    ("homes_are_hidden_but_what_is_named_in_them", || {
        let place = tempfile::tempdir_in("/root").unwrap();
        fs::write(place.path().join("file"), "x").unwrap();
        let path = place.path().to_owned();
        let script = format!(
            "ls -A /root; ls {}; touch /root/y 2>&1; touch {}/z",
            path.display(),
            path.display()
        );
        let config = with(&script, |walls| {
            walls.read_write_paths = vec![BoxPath {
                path,
                optional: false,
            }];
        });
        let name = place.path().file_name().unwrap().to_str().unwrap();
        let refused = "touch: cannot touch '/root/y': Read-only file system\n";
        assert_eq!(says(&config), format!("{name}\nfile\n{refused}"));
    }),
    ("a_path_can_be_closed_and_a_missing_one_is_an_error", || {
        let hide = |path: &str, optional| {
            with("cat /etc/passwd; ls /var/lib", |walls| {
                walls.inaccessible_paths = vec![
                    BoxPath {
                        path: "/etc/passwd".into(),
                        optional: false,
                    },
                    BoxPath {
                        path: "/var/lib".into(),
                        optional: false,
                    },
                    BoxPath {
                        path: path.into(),
                        optional,
                    },
                ];
            })
        };
        let outcome = outcome(&hide("/nowhere", true));
        assert_eq!(outcome.stdout, "");
        assert!(
            outcome
                .stderr
                .contains("cat: /etc/passwd: Permission denied"),
            "{}",
            outcome.stderr
        );
        let failure = crate::fixture::outcome(&hide("/nowhere", false))
            .failure
            .unwrap()
            .to_string();
        assert!(failure.starts_with("hide /nowhere (step "), "{failure}");
    }),
    ("a_user_is_switched_to_without_a_way_back", || {
        let mut config = boxed("id -u; id -g; id -G; grep ^CapBnd /proc/self/status");
        config.identity = Identity {
            uid: Some(65534),
            gid: Some(65534),
            groups: None,
        };
        assert_eq!(
            says(&config),
            "65534\n65534\n65534\nCapBnd:\t0000000000000000\n"
        );
    }),
    ("an_ambient_capability_survives_the_change_of_user", || {
        let mut config = with(
            "grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | sort -u",
            |walls| {
                walls.capability_bounding_set = vec![10];
                walls.ambient_capabilities = vec![10];
            },
        );
        config.identity.uid = Some(65534);
        for line in says(&config).lines() {
            assert!(line.ends_with("\t0000000000000400"), "{line}");
        }
    }),
    ("no_network_means_an_interface_that_is_down", || {
        let script = "cat /proc/net/dev | wc -l; cat /proc/net/route | wc -l";
        let config = with(script, |walls| walls.network = Network::None);
        assert_eq!(says(&config), "3\n0\n");
    }),
    ("loopback_is_up_where_asked", || {
        let script = "grep -c . /proc/net/if_inet6; head -c9 /proc/net/if_inet6";
        let config = with(script, |walls| walls.network = Network::Loopback);
        assert_eq!(says(&config), "1\n000000000");
    }),
    ("the_hostname_is_the_name", || {
        assert_eq!(says(&boxed("hostname")), "web\n")
    }),
    ("the_session_keyring_is_its_own", || {
        let keyring = |config: &Config| says(config);
        let script = "grep -c _ses /proc/keys";
        let private = with(script, |walls| walls.protect_kernel_tunables = false);
        let shared = with(script, |walls| {
            walls.protect_kernel_tunables = false;
            walls.keyring = Keyring::Inherit;
        });
        assert_ne!(keyring(&private), "0\n");
        assert!(plan(&private).steps_len() == plan(&shared).steps_len() + 1);
    }),
    ("a_signal_to_the_reaper_reaches_the_command", || {
        let launcher = launcher();
        let (mut out, out_end) = std::io::pipe().unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let config = boxed(
            "trap 'echo got it; exit 5' TERM; echo ready; while :; do read x < /dev/tty || sleep 0.01; done 2>/dev/null",
        );
        let files = Files {
            stdin: null.as_fd(),
            stdout: out_end.as_fd(),
            stderr: null.as_fd(),
            passed: &[],
            held: &[],
            own: &[],
        };
        let launched = launcher.launch(&plan(&config), files).unwrap();
        drop(out_end);
        let status = launched.status.unwrap();
        let (pid, pidfd, main_pid) = match next(&status) {
            Message::Main { pid, .. } => (launched.pid, launched.pidfd, pid),
            Message::Moved {
                pid,
                pidfd,
                main_pid,
                main_pidfd,
            } => {
                assert!(main_pidfd.is_some());
                assert_eq!(wait(&launched.pidfd).code(), Some(0));
                (pid, pidfd, main_pid)
            }
            Message::Failed(_)
            | Message::Executing
            | Message::Executed
            | Message::Stopped(_)
            | Message::AtGate { .. }
            | Message::Exited(_)
            | Message::Closed => panic!("nobody stands for the box"),
        };
        assert!(matches!(next(&status), Message::Executed));
        assert_ne!(pid, main_pid);
        let mut ready = [0; 6];
        out.read_exact(&mut ready).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        let Message::Exited(how) = next(&status) else {
            panic!("no end")
        };
        assert_eq!(how.code(), Some(5));
        assert_eq!(wait(&pidfd).code(), Some(5));
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "got it\n");
    }),
    ("what_the_command_leaves_behind_ends_with_it", || {
        // The pipe closes only when the last process that holds it is gone.
        let text = says(&boxed("(sleep 1000 &) ; setsid sleep 1000 & echo done"));
        assert_eq!(text, "done\n");
    }),
    ("a_box_root_is_the_whole_tree", || {
        let place = tempfile::tempdir().unwrap();
        let mut config = small_root(place.path());
        assert_eq!(says(&config), "bin\ndev\netc\nlib\nlib64\nproc\ntmp\nusr\n");
        config.process.argv[2] = "touch /x 2>&1; touch /tmp/y && pwd; cut -d' ' -f5 /proc/self/mountinfo | grep -v ^/proc | sort".into();
        let text = says(&config);
        assert!(
            text.starts_with("touch: cannot touch '/x': Read-only file system\n/\n/\n/dev\n"),
            "{text}"
        );
        assert!(!text.contains(place.path().to_str().unwrap()), "{text}");
        assert!(!place.path().join("tmp/y").exists());
    }),
    ("a_missing_mount_point_is_made_in_a_box_root", || {
        let place = tempfile::tempdir().unwrap();
        let config = small_root(place.path());
        fs::remove_dir(place.path().join("proc")).unwrap();
        assert!(says(&config).contains("proc\n"));
        assert!(place.path().join("proc").is_dir());
    }),
    ("a_link_in_the_place_of_proc_or_dev_is_refused", || {
        for name in ["proc", "dev"] {
            let place = tempfile::tempdir().unwrap();
            let config = small_root(place.path());
            fs::remove_dir(place.path().join(name)).unwrap();
            symlink("/etc", place.path().join(name)).unwrap();
            let failure = outcome(&config).failure.unwrap();
            assert_eq!(
                failure.errno,
                rustix::io::Errno::LOOP.raw_os_error(),
                "{failure}"
            );
        }
    }),
    (
        "a_link_planted_in_a_box_root_leads_no_mount_outside",
        || {
            let outside = tempfile::tempdir().unwrap();
            let place = tempfile::tempdir().unwrap();
            let mut config = small_root(place.path());
            let target = outside.path().join("target");
            fs::create_dir(&target).unwrap();
            // Absolute and climbing links both end at the box's own root.
            symlink(&target, place.path().join("absolute")).unwrap();
            symlink(
                format!("../../../../../..{}", target.display()),
                place.path().join("climbing"),
            )
            .unwrap();
            let walls = config.walls.as_mut().unwrap();
            for link in ["/absolute/in", "/climbing/in"] {
                walls.binds.push(Bind {
                    source: "/usr/bin".into(),
                    target: link.into(),
                    read_only: true,
                    optional: false,
                    recursive: true,
                });
            }
            let answer = outcome(&config);
            assert_eq!(count(target.to_str().unwrap()), 0, "{answer:?}");
        },
    ),
    ("a_caller_sees_no_mount_of_its_boxes", || {
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        outcome(&boxed("exit 0"));
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    }),
    ("passed_descriptors_reach_the_command_and_only_they", || {
        let etc = fs::File::open("/etc/passwd").unwrap();
        let script = plan(&boxed(
            "readlink /proc/self/fd/4; ls /proc/self/fd | tr '\\n' ' '",
        ));
        // 3 is the descriptor that ls reads.
        let text = outcome_of(&script, &[(4, etc.as_fd())]).stdout;
        assert_eq!(text, "/etc/passwd\n0 1 2 3 4 ");
    }),
];
