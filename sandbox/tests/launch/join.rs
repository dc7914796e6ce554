//! Joining the namespaces of others.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::Signal;
use sandbox::config::{
    Held, Identity, Join, NamespaceKind, NamespaceSource, Namespaces, Network, TimeOffsets,
    UserNamespace, Walls,
};
use sandbox::status::Message;
use sandbox::{Config, Host, Launcher};

use crate::fixture::{
    Case, Outcome, carried, files_of, next, outcome, outcome_of, outcome_with, plan, shell, wait,
};
use crate::user::as_nobody;

/// A box that stays until it is dropped.
struct Stay {
    /// The main process as we see it.
    pid: i32,
    pidfd: OwnedFd,
    _status: OwnedFd,
}

impl Stay {
    fn new(walls: Walls) -> Self {
        let mut config = shell("exec sleep 1000");
        config.walls = Some(walls);
        let launcher = Launcher::new().unwrap();
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let files = files_of(null.as_fd());
        let launched = launcher.launch(&carried(&plan(&config)), files).unwrap();
        let status = launched.status.unwrap();
        let (mut pid, mut pidfd) = (launched.pid, launched.pidfd);
        loop {
            match next(&status) {
                Message::Executed => break,
                Message::Main { pid: main, .. } => pid = main,
                Message::Moved {
                    pidfd: init,
                    main_pid,
                    ..
                } => {
                    wait(&pidfd);
                    (pid, pidfd) = (main_pid, init);
                }
                Message::Executing => {}
                // An executor that has become the command itself.
                Message::Closed => break,
                other @ (Message::Failed(_)
                | Message::Stopped(_)
                | Message::AtGate { .. }
                | Message::Exited(_)) => {
                    panic!("{other:?}")
                }
            }
        }
        Self {
            pid,
            pidfd,
            _status: status,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.pid)
    }

    fn id(&self, name: &str) -> String {
        fs::read_link(self.path(name))
            .unwrap()
            .display()
            .to_string()
    }

    fn join(&self, kinds: &[(NamespaceKind, &str)]) -> Vec<Join> {
        kinds
            .iter()
            .map(|(kind, name)| Join {
                kind: *kind,
                from: NamespaceSource::Path(self.path(name).into()),
            })
            .collect()
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).unwrap();
        wait(&self.pidfd);
    }
}

fn with(walls: Walls, script: &str) -> Config {
    Config {
        walls: Some(walls),
        ..shell(script)
    }
}

fn joining(join: Vec<Join>, script: &str) -> Config {
    with(
        Walls {
            join,
            ..Walls::bare()
        },
        script,
    )
}

fn lines_of(outcome: Outcome, plan: &str) -> Vec<String> {
    assert_eq!(outcome.failure, None, "{plan}");
    assert_eq!(outcome.stderr, "", "{plan}");
    outcome.stdout.lines().map(str::to_owned).collect()
}

fn lines(config: &Config) -> Vec<String> {
    lines_of(outcome(config), &plan(config).to_string())
}

fn refusal(config: &Config) -> String {
    sandbox::compile(config, &Host::detect().unwrap())
        .unwrap_err()
        .to_string()
}

fn no_child_is_left() {
    let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert_eq!(left.err(), Some(rustix::io::Errno::CHILD));
}

const ALL: [(NamespaceKind, &str); 6] = [
    (NamespaceKind::Mount, "mnt"),
    (NamespaceKind::Pid, "pid"),
    (NamespaceKind::Ipc, "ipc"),
    (NamespaceKind::Uts, "uts"),
    (NamespaceKind::Cgroup, "cgroup"),
    (NamespaceKind::Net, "net"),
];

fn everything() -> Walls {
    Walls {
        namespaces: Namespaces {
            mount: true,
            pid: true,
            ipc: true,
            uts: true,
            cgroup: true,
            net: true,
            ..Namespaces::default()
        },
        network: Network::Loopback,
        ..Walls::bare()
    }
}

pub(crate) const CASES: &[Case] = &[
    ("a_box_joins_each_namespace_of_another", || {
        let stay = Stay::new(everything());
        for (kind, name) in ALL {
            let mut kinds = vec![(kind, name)];
            // The other's /proc knows processes of its own PID namespace alone.
            if kind == NamespaceKind::Mount {
                kinds.push((NamespaceKind::Pid, "pid"));
            }
            let config = joining(stay.join(&kinds), &format!("readlink /proc/self/ns/{name}"));
            let seen = lines(&config);
            assert_eq!(seen, [stay.id(name)]);
            no_more_than_the_stay();
        }
    }),
    ("a_box_joins_all_namespaces_of_another_at_once", || {
        let stay = Stay::new(everything());
        let mut config = joining(
            stay.join(&ALL),
            "readlink /proc/self/ns/net; cat /proc/1/comm",
        );
        // The first process of the other, in a new /proc of the PID namespace that both are in.
        assert_eq!(lines(&config)[0], stay.id("net"));
        let total = plan(&config).steps_len();
        for n in 1..=total {
            let failure = outcome_of(&plan(&config).fail_at(n), &[]).failure;
            assert_eq!(failure.map(|failure| failure.step), Some(n));
            no_more_than_the_stay();
        }
        // Held descriptors do as well as paths.
        let held: Vec<File> = ALL
            .iter()
            .map(|(_, name)| File::open(stay.path(name)).unwrap())
            .collect();
        for (index, join) in config.walls.as_mut().unwrap().join.iter_mut().enumerate() {
            join.from = NamespaceSource::Descriptor(Held(u32::try_from(index).unwrap()));
        }
        let held: Vec<_> = held.iter().map(AsFd::as_fd).collect();
        let outcome = outcome_with(&plan(&config), &[], &held);
        assert_eq!(lines_of(outcome, "")[0], stay.id("net"));
    }),
    (
        "a_new_pid_namespace_can_lie_below_one_that_is_joined",
        || {
            let stay = Stay::new(everything());
            let mut config = joining(
                stay.join(&[(NamespaceKind::Pid, "pid")]),
                "echo $$; readlink /proc/self/ns/pid; exit 7",
            );
            config.walls.as_mut().unwrap().namespaces.pid = true;
            let plan = plan(&config);
            let outcome = outcome_of(&plan, &[]);
            assert_eq!(outcome.status.unwrap().code(), Some(7));
            let seen = lines_of(outcome, &plan.to_string());
            // The reaper is its process 1.
            assert_eq!(seen[0], "2");
            assert_ne!(seen[1], stay.id("pid"));
            no_more_than_the_stay();
            for n in 1..=plan.steps_len() {
                let failure = outcome_of(&plan.clone().fail_at(n), &[]).failure;
                assert_eq!(failure.map(|failure| failure.step), Some(n), "{plan}");
                no_more_than_the_stay();
            }
        },
    ),
    ("root_joins_a_user_namespace_after_all_others", || {
        let stay = Stay::new(Walls {
            user_namespace: Some(UserNamespace::default()),
            ..everything()
        });
        let kinds = [(NamespaceKind::User, "user"), (NamespaceKind::Net, "net")];
        let script = "readlink /proc/self/ns/user /proc/self/ns/net; id -u; \
                      grep CapEff /proc/self/status";
        let mut config = joining(stay.join(&kinds), script);
        config.identity = Identity {
            uid: Some(0),
            gid: Some(0),
            groups: None,
        };
        let walls = config.walls.as_mut().unwrap();
        walls.capability_bounding_set = vec![12];
        walls.namespaces.mount = true;
        let seen = lines(&config);
        assert_eq!(seen[..3], [stay.id("user"), stay.id("net"), "0".to_owned()]);
        assert_eq!(seen[3], "CapEff:\t0000000000001000");
    }),
    (
        "a_user_joins_a_user_namespace_of_its_own_and_then_others",
        || {
            as_nobody("inner::joins_its_own");
        },
    ),
    (
        "a_second_user_namespace_is_joined_once_the_box_stands",
        || {
            // One below that of the box to be, as its maker would hold it.
            let outer = Stay::new(Walls {
                user_namespace: Some(UserNamespace::default()),
                ..everything()
            });
            let mut inner = Walls {
                user_namespace: Some(UserNamespace::default()),
                ..Walls::bare()
            };
            inner.user_namespace.as_mut().unwrap().nested = true;
            let mut config = joining(outer.join(&[(NamespaceKind::User, "user")]), "id -u");
            let second = Stay::new(inner);
            config
                .walls
                .as_mut()
                .unwrap()
                .join
                .extend(second.join(&[(NamespaceKind::SecondUser, "user")]));
            // It has to lie below the first, which this one does not.
            let failure = outcome(&config).failure.unwrap().to_string();
            assert!(
                failure.starts_with("join the second user namespace"),
                "{failure}"
            );
            let mut config = joining(
                second.join(&[(NamespaceKind::SecondUser, "user")]),
                "readlink /proc/self/ns/user; mount -t tmpfs none /tmp 2>/dev/null; echo $?",
            );
            config.walls.as_mut().unwrap().namespaces.mount = true;
            assert_eq!(lines(&config), [second.id("user"), "32".to_owned()]);
        },
    ),
    ("what_cannot_be_joined_is_told_by_name", || {
        let config = joining(
            vec![Join {
                kind: NamespaceKind::Net,
                from: NamespaceSource::Path("/nowhere".into()),
            }],
            "exit 0",
        );
        let failure = outcome(&config).failure.unwrap().to_string();
        assert!(
            failure.starts_with("join the network namespace /nowhere (step "),
            "{failure}"
        );
        let wrong = joining(
            vec![
                Join {
                    kind: NamespaceKind::Ipc,
                    from: NamespaceSource::Path("/proc/self/ns/ipc".into()),
                },
                Join {
                    kind: NamespaceKind::Net,
                    from: NamespaceSource::Path("/proc/self/ns/ipc".into()),
                },
            ],
            "exit 0",
        );
        let failure = outcome(&wrong).failure.unwrap().to_string();
        assert!(
            failure.contains(": the network namespace /proc/self/ns/ipc (step "),
            "{failure}"
        );
    }),
    (
        "namespaces_that_are_made_and_joined_are_refused_by_name",
        || {
            let join = |kind| Join {
                kind,
                from: NamespaceSource::Path("/proc/1/ns/x".into()),
            };
            for (kind, text) in [
                (NamespaceKind::Ipc, "ipc_namespace: the ipc namespace"),
                (NamespaceKind::Uts, "uts_namespace: the uts namespace"),
                (
                    NamespaceKind::Cgroup,
                    "cgroup_namespace: the cgroup namespace",
                ),
                (NamespaceKind::Net, "net_namespace: the network namespace"),
            ] {
                let mut walls = everything();
                walls.join = vec![join(kind)];
                let wanted = format!("{text} is made or joined, not both");
                assert_eq!(refusal(&with(walls, "exit 0")), wanted);
            }
            let twice = vec![join(NamespaceKind::Net), join(NamespaceKind::Net)];
            assert_eq!(
                refusal(&joining(twice, "exit 0")),
                "net_namespace: two network namespaces cannot be joined"
            );
            let mut walls = Walls::bare();
            walls.join = vec![join(NamespaceKind::Uts)];
            walls.hostname = Some("mine".into());
            assert_eq!(
                refusal(&with(walls, "exit 0")),
                "uts_namespace: a UTS namespace that is joined has its names"
            );
            let mut walls = Walls::bare();
            walls.join = vec![join(NamespaceKind::User)];
            walls.user_namespace = Some(UserNamespace::default());
            assert_eq!(
                refusal(&with(walls, "exit 0")),
                "user_namespace: the user namespace is made or joined, not both"
            );
        },
    ),
    ("a_time_namespace_has_clocks_of_its_own", || {
        clocks();
        as_nobody("inner::clocks");
    }),
];

fn clocks() {
    let uptime = |text: &str| -> f64 { text.split('.').next().unwrap().parse().unwrap() };
    let outside = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    for pid in [false, true] {
        let mut config = with(
            everything(),
            "cat /proc/uptime; readlink /proc/self/ns/time",
        );
        let walls = config.walls.as_mut().unwrap();
        walls.namespaces.time = true;
        walls.namespaces.pid = pid;
        walls.time_offsets = TimeOffsets {
            monotonic: 0,
            boottime: 1_000_000,
        };
        let seen = lines(&config);
        let ahead = uptime(&seen[0]) - outside;
        assert!((999_999.0..1_000_100.0).contains(&ahead), "{ahead}");
        let own = fs::read_link("/proc/self/ns/time").unwrap();
        assert_ne!(seen[1], own.display().to_string());
        config.walls.as_mut().unwrap().namespaces.time = false;
        assert_eq!(
            refusal(&config),
            "time_namespace: clocks are set ahead only in a time namespace"
        );
    }
}

/// Only the box that stays is a child of ours, and it has not ended.
fn no_more_than_the_stay() {
    let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert!(matches!(left, Ok(None)), "{left:?}");
}

/// Only ever run as nobody.
pub(crate) const INNER: &[Case] = &[
    ("inner::joins_its_own", || {
        let stay = Stay::new(Walls {
            user_namespace: Some(UserNamespace::default()),
            ..everything()
        });
        let mut kinds = vec![(NamespaceKind::User, "user")];
        kinds.extend(ALL);
        // In the wrong order: the right to join the others comes with the user namespace.
        kinds.rotate_left(1);
        let config = joining(
            stay.join(&kinds),
            "readlink /proc/self/ns/user /proc/self/ns/net",
        );
        assert_eq!(lines(&config), [stay.id("user"), stay.id("net")]);
        drop(stay);
        no_child_is_left();
    }),
    ("inner::clocks", clocks),
];
