//! Bare processes: no wall, no executor.

use std::io::{Read as _, pipe};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sandbox::config::{Directory, Identity, Resource, Rlimit};
use sandbox::{Carrier, Files, InFlight, LaunchError, Launcher, Plan};

use crate::fixture::{Case, config, launcher, outcome, outcome_of, plan, shell, wait};

pub(crate) const CASES: &[Case] = &[
    ("a_bare_process_needs_no_executor", || {
        assert_eq!(plan(&shell("exit 0")).carrier(), Carrier::Vfork);
    }),
    ("it_runs_and_its_exit_code_is_its_own", || {
        let outcome = outcome(&shell("echo out; echo err >&2; exit 7"));
        assert_eq!(outcome.status.unwrap().code(), Some(7));
        assert_eq!(
            (outcome.stdout.as_str(), outcome.stderr.as_str()),
            ("out\n", "err\n")
        );
    }),
    ("a_command_that_does_not_exist_is_named", || {
        let failure = outcome(&config(&["/usr/bin/nope"])).failure.unwrap();
        assert_eq!(
            failure.to_string(),
            "command /usr/bin/nope: no such file or directory"
        );
    }),
    (
        "a_command_that_is_not_in_the_path_is_named_with_the_path",
        || {
            let failure = outcome(&config(&["nope"])).failure.unwrap();
            assert_eq!(
                failure.to_string(),
                "nope: not found in PATH (/usr/bin:/bin)"
            );
        },
    ),
    ("a_file_that_cannot_be_executed_is_named", || {
        let failure = outcome(&config(&["/etc/passwd"])).failure.unwrap();
        assert_eq!(
            failure.to_string(),
            "command /etc/passwd: permission denied"
        );
    }),
    ("a_command_without_a_slash_is_found_in_the_path", || {
        assert_eq!(outcome(&config(&["true"])).status.unwrap().code(), Some(0));
    }),
    ("only_the_descriptors_given_are_open", || {
        let leak = std::fs::File::open("/").unwrap();
        rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
        let file = std::fs::File::open("/etc/passwd").unwrap();
        let seven = plan(&config(&["/bin/ls", "/proc/self/fd"]));
        let outcome = outcome_of(&seven, &[(7, file.as_fd()), (3, leak.as_fd())]);
        // The last number is ls's own.
        assert_eq!(
            outcome.stdout.split_whitespace().collect::<Vec<_>>(),
            ["0", "1", "2", "3", "4", "7"]
        );
    }),
    (
        "descriptors_that_swap_numbers_end_where_they_belong",
        || {
            let (etc, tmp) = (
                std::fs::File::open("/etc").unwrap(),
                std::fs::File::open("/proc").unwrap(),
            );
            let script = plan(&shell(
                "readlink /proc/self/fd/3 /proc/self/fd/4 /proc/self/fd/5",
            ));
            let root = std::fs::File::open("/").unwrap();
            let outcome = outcome_of(
                &script,
                &[(5, etc.as_fd()), (4, tmp.as_fd()), (3, root.as_fd())],
            );
            assert_eq!(outcome.stdout, "/\n/proc\n/etc\n");
        },
    ),
    ("number_2_cannot_be_passed_twice", || {
        let null = std::fs::File::open("/dev/null").unwrap();
        let files = Files {
            stdin: null.as_fd(),
            stdout: null.as_fd(),
            stderr: null.as_fd(),
            passed: &[(2, null.as_fd())],
            held: &[],
            own: &[],
        };
        let answer = Launcher::new()
            .unwrap()
            .launch(&plan(&shell("exit")), files);
        assert!(matches!(answer, Err(LaunchError::Target(2))));
    }),
    ("no_signal_is_blocked_or_ignored", || {
        let outcome = outcome(&config(&[
            "/bin/grep",
            "-E",
            "^Sig(Blk|Ign)",
            "/proc/self/status",
        ]));
        assert_eq!(
            outcome.stdout,
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
        );
    }),
    ("sigpipe_is_ignored_when_asked", || {
        let mut config = config(&["/bin/grep", "^SigIgn", "/proc/self/status"]);
        config.process.ignore_sigpipe = true;
        assert_eq!(outcome(&config).stdout, "SigIgn:\t0000000000001000\n");
    }),
    (
        "the_environment_is_whole_and_pid_variables_hold_the_pid",
        || {
            let mut config = shell("env | grep -v ^PWD | grep -v ^_; echo $$");
            config.process.listen_names = vec!["http".into(), "ctl".into()];
            config.process.pid_variables = vec!["WATCHDOG_PID".into()];
            let stdout = outcome(&config).stdout;
            let lines: Vec<&str> = stdout.lines().collect();
            let pid = lines.last().unwrap();
            for expected in [
                "LISTEN_FDS=2",
                "LISTEN_FDNAMES=http:ctl",
                "PATH=/usr/bin:/bin",
            ] {
                assert!(lines.contains(&expected), "{expected} in {lines:?}");
            }
            assert!(
                lines.contains(&format!("LISTEN_PID={pid}").as_str()),
                "{lines:?}"
            );
            assert!(
                lines.contains(&format!("WATCHDOG_PID={pid}").as_str()),
                "{lines:?}"
            );
            assert!(
                !lines.iter().any(|line| line.starts_with("CARGO")),
                "{lines:?}"
            );
        },
    ),
    ("it_leads_a_session_of_its_own", || {
        let outcome = outcome(&shell(
            "read pid comm state ppid group session rest < /proc/self/stat; echo $$ $session",
        ));
        let words: Vec<&str> = outcome.stdout.split_whitespace().collect();
        assert_eq!(words[0], words[1]);
    }),
    (
        "identity_umask_limits_and_directory_are_what_was_asked",
        || {
            let mut config = shell(
                "id -u; id -g; id -G; umask; ulimit -n; ulimit -Hn; pwd; cat /proc/self/oom_score_adj; nice",
            );
            config.identity = Identity {
                uid: Some(65534),
                gid: Some(65534),
                groups: Some(vec![7, 8]),
            };
            config.process.umask = Some(0o027);
            config.process.working_directory = Some("/usr".into());
            config.process.scheduling.oom_score_adjust = Some(321);
            config.process.scheduling.nice = Some(3);
            config.limits.rlimits = vec![Rlimit {
                resource: Resource::OpenFiles,
                soft: Some(100),
                hard: Some(200),
            }];
            let outcome = outcome(&config);
            assert_eq!(outcome.stderr, "");
            assert_eq!(
                outcome.stdout.lines().collect::<Vec<_>>(),
                [
                    "65534",
                    "65534",
                    "65534 7 8",
                    "0027",
                    "100",
                    "200",
                    "/usr",
                    "321",
                    "3"
                ]
            );
        },
    ),
    ("a_missing_working_directory_is_named_with_its_step", || {
        let mut config = shell("pwd");
        config.process.working_directory = Some("/nowhere".into());
        let text = outcome(&config).failure.unwrap().to_string();
        assert_eq!(
            text,
            "change directory to /nowhere (step 5 of 6): no such file or directory"
        );
        config.process.working_directory_optional = true;
        assert_eq!(outcome(&config).stdout, "/\n");
    }),
    ("a_working_directory_behind_a_magic_link_is_refused", || {
        let mut config = shell("pwd");
        config.process.working_directory = Some("/proc/self/fd/0".into());
        assert!(outcome(&config).failure.is_some());
    }),
    ("directories_are_made_and_given_to_the_service", || {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = shell("exit 0");
        let path = place.path().join("a/b");
        config.directories = vec![Directory {
            path: path.clone(),
            mode: 0o750,
            writable: true,
            whole: false,
        }];
        config.identity.uid = Some(65534);
        assert_eq!(outcome(&config).status.unwrap().code(), Some(0));
        let made = path.metadata().unwrap();
        assert_eq!((made.uid(), made.mode() & 0o7777), (65534, 0o750));
        assert_eq!(path.parent().unwrap().metadata().unwrap().uid(), 0);
    }),
    (
        "a_link_planted_by_another_user_leads_no_directory_away",
        || {
            let place = tempfile::tempdir().unwrap();
            std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            let target = place.path().join("target");
            std::fs::create_dir(&target).unwrap();
            let link = place.path().join("link");
            std::os::unix::fs::symlink(&target, &link).unwrap();
            std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
            let mut config = shell("exit 0");
            config.directories = vec![Directory {
                path: link,
                mode: 0o700,
                writable: true,
                whole: false,
            }];
            config.identity.uid = Some(65534);
            let failure = outcome(&config).failure.unwrap();
            assert_eq!(failure.errno, rustix::io::Errno::LOOP.raw_os_error());
            assert_eq!(target.metadata().unwrap().uid(), 0);
        },
    ),
    ("a_failure_at_any_step_leaves_nothing", || {
        let mut config = shell("exit 0");
        config.process.scheduling.nice = Some(1);
        config.process.umask = Some(0o077);
        config.identity.uid = Some(65534);
        let plan = plan(&config);
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for n in 1..=plan.steps_len() {
            let failure = outcome_of(&plan.clone().fail_at(n), &[]).failure.unwrap();
            assert_eq!(
                (failure.step, failure.errno),
                (n, rustix::io::Errno::CANCELED.raw_os_error())
            );
        }
        assert_eq!(std::fs::read_dir("/proc/self/fd").unwrap().count(), before);
        let wait = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(
            wait.err(),
            Some(rustix::io::Errno::CHILD),
            "no child is left"
        );
    }),
    ("a_limit_in_cgroup_v1_holds_for_a_bare_process", || {
        use sandbox::cgroup::{Removal, remove};
        use sandbox::config::{Amount, CgroupName};
        let mut config = shell("while read line; do echo $line; done < /proc/self/cgroup; (true)");
        let name = format!("herd-test-{}", std::process::id());
        config.cgroup = Some(CgroupName(name.clone()));
        config.limits.cgroup.tasks = Some(Amount::Exactly(1));
        let plan = plan(&config);
        let outcome = outcome_of(&plan, &[]);
        let removed = remove(plan.cgroup().unwrap()).unwrap();
        assert_eq!(outcome.failure, None, "{plan}");
        assert_eq!(removed, Removal::Removed);
        assert!(
            outcome.stdout.lines().any(|line| line.ends_with(&name)),
            "{}",
            outcome.stdout
        );
        assert!(
            outcome.stderr.contains("fork"),
            "the limit does not hold: {outcome:?}"
        );
    }),
    ("a_bare_process_is_born_in_its_group", || {
        use sandbox::cgroup::{Removal, remove};
        use sandbox::config::CgroupName;
        let mut config = config(&["/bin/cat", "/proc/self/cgroup"]);
        let name = format!("herd-test-{}", std::process::id());
        config.cgroup = Some(CgroupName(name.clone()));
        let plan = plan(&config);
        let outcome = outcome_of(&plan, &[]);
        let removed = remove(plan.cgroup().unwrap()).unwrap();
        assert_eq!(removed, Removal::Removed);
        assert!(
            outcome.stdout.lines().any(|line| line.ends_with(&name)),
            "{}",
            outcome.stdout
        );
    }),
    (
        "threads_may_launch_from_one_launcher_at_the_same_time",
        || {
            let launcher = launcher();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let launcher = &launcher;
                    scope.spawn(move || {
                        for turn in 0..25 {
                            let word = format!("{thread}.{turn}");
                            let plan = plan(&config(&["/bin/echo", &word]));
                            assert_eq!(said(launcher, &plan, &InFlight::default()).unwrap(), word);
                        }
                    });
                }
            });
        },
    ),
    ("a_launch_that_was_called_off_before_runs_nothing", || {
        let flight = InFlight::default();
        flight.call_off();
        let failure = said(&launcher(), &plan(&config(&["/bin/echo", "here"])), &flight);
        let failure = failure.unwrap_err().to_string();
        assert!(
            failure.ends_with("ended before it executed its program"),
            "{failure}"
        );
        assert_eq!(flight.pid(), None);
    }),
];

/// What a bare program writes, in one line.
fn said(launcher: &Launcher, plan: &Plan, flight: &InFlight) -> Result<String, LaunchError> {
    let (mut out, end) = pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let files = Files {
        stdin: null.as_fd(),
        stdout: end.as_fd(),
        stderr: null.as_fd(),
        passed: &[],
        held: &[],
        own: &[],
    };
    let launched = launcher.launch_in_sight(plan, files, flight);
    drop(end);
    let launched = launched?;
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    wait(&launched.pidfd);
    Ok(text.trim_end().to_owned())
}
