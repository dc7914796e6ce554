//! Plans as text, for a table of machines. `HERD_BLESS=1 cargo test -p sandbox --test plans` writes
//! the files anew; the difference is what review reads.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::Path;

use sandbox::config::{
    Amount, Bind, CgroupName, Directory, Identity, Lifecycle, Limits, Network, Process, Root, Wall,
    Walls,
};
use sandbox::host::{Architecture, Cgroups, KernelVersion, UserNamespaces, V1, V2};
use sandbox::{Carrier, Config, Host, compile};

fn root(cgroups: Cgroups) -> Host {
    Host {
        kernel: KernelVersion::new(6, 18),
        architecture: Architecture::X86_64,
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        is_root: true,
        capabilities: u64::MAX,
        user_namespaces: UserNamespaces::Allowed,
        memory_bytes: 1 << 30,
        cpus: 2,
        threads_max: 10_000,
        landlock_abi: 7,
        seccomp: true,
        overlay: true,
        cgroups,
    }
}

fn hybrid() -> Host {
    let group = |name: &str| {
        let mount = Path::new("/sys/fs/cgroup").join(name);
        (
            name.to_owned(),
            V1 {
                mount: mount.clone(),
                own: mount,
                writable: true,
            },
        )
    };
    let v1: BTreeMap<String, V1> = ["memory", "pids", "freezer"].map(group).into();
    let v2 = Some(V2 {
        mount: "/sys/fs/cgroup/unified".into(),
        own: "/sys/fs/cgroup/unified".into(),
        controllers: Vec::new(),
        writable: true,
    });
    root(Cgroups {
        v2,
        v1,
        v1_swap: false,
    })
}

fn pure_v2() -> Host {
    let v2 = Some(V2 {
        mount: "/sys/fs/cgroup".into(),
        own: "/sys/fs/cgroup".into(),
        controllers: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
        writable: true,
    });
    root(Cgroups {
        v2,
        ..Cgroups::default()
    })
}

fn user() -> Host {
    Host {
        uid: 1000,
        gid: 1000,
        is_root: false,
        capabilities: 0,
        ..root(Cgroups::default())
    }
}

fn bare() -> Config {
    Config {
        name: "web".to_owned(),
        process: Process {
            argv: vec!["/usr/bin/web".into(), "--port".into(), "80".into()],
            new_session: true,
            ..Process::default()
        },
        identity: Identity::default(),
        directories: Vec::new(),
        limits: Limits::default(),
        cgroup: Some(CgroupName("herd/web".to_owned())),
        walls: None,
        lifecycle: Lifecycle::default(),
    }
}

fn limited() -> Config {
    let mut config = bare();
    config.limits.cgroup.memory = Some(Amount::Exactly(64 << 20));
    config.limits.cgroup.tasks = Some(Amount::Exactly(50));
    config
}

fn boxed() -> Config {
    Config {
        walls: Some(Walls::default_box()),
        ..limited()
    }
}

fn with_state(identity: Identity) -> Config {
    let state = Directory {
        path: "/var/lib/web".into(),
        mode: 0o750,
        writable: true,
    };
    Config {
        identity,
        directories: vec![state],
        ..boxed()
    }
}

fn box_root() -> Config {
    let mut config = with_state(Identity {
        uid: Some(33),
        gid: Some(33),
        groups: None,
    });
    let walls = config.walls.as_mut().unwrap();
    walls.root = Root::Directory("/srv/web".into());
    walls.network = Network::Loopback;
    walls.binds = vec![Bind {
        source: "/etc/resolv.conf".into(),
        target: "/etc/resolv.conf".into(),
        read_only: true,
        optional: true,
        recursive: false,
    }];
    config
}

/// Compares with the checked-in file, or writes it.
fn golden(name: &str, config: &Config, host: &Host) {
    let text = compile(config, host).unwrap().to_string();
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.plan"));
    if std::env::var_os("HERD_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, expected, "{name}");
}

#[test]
fn plans_are_what_was_reviewed() {
    let www = Identity {
        uid: Some(33),
        gid: Some(33),
        groups: None,
    };
    golden("bare.hybrid", &bare(), &hybrid());
    golden("limited.hybrid", &limited(), &hybrid());
    golden("limited.pure-v2", &limited(), &pure_v2());
    golden("box.hybrid", &boxed(), &hybrid());
    golden("box.pure-v2", &with_state(www), &pure_v2());
    let mut rootless = with_state(Identity::default());
    rootless.limits = Limits::default();
    golden("box.user", &rootless, &user());
    golden("box-root.hybrid", &box_root(), &hybrid());
}

#[test]
fn limits_in_v1_are_no_work_for_the_caller() {
    let carrier = |config: &Config, host: &Host| compile(config, host).unwrap().carrier();
    assert_eq!(carrier(&bare(), &hybrid()), Carrier::Vfork);
    assert_eq!(carrier(&limited(), &hybrid()), Carrier::Executor);
    assert_eq!(carrier(&limited(), &pure_v2()), Carrier::Vfork);
}

#[test]
fn no_new_privileges_stands_before_the_filter_and_the_filter_before_exec() {
    for host in [hybrid(), pure_v2()] {
        let text = compile(&boxed(), &host).unwrap().to_string();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once(". ").unwrap().1)
            .collect();
        let end = lines.len();
        assert!(lines[end - 1].starts_with("execute "), "{text}");
        assert!(lines[end - 2].starts_with("seccomp: "), "{text}");
        assert_eq!(lines[end - 3], "refuse new privileges from now on");
    }
}

#[test]
fn a_wall_that_the_machine_refuses_is_named_or_reported() {
    let host = Host {
        user_namespaces: UserNamespaces::Refused("user.max_user_namespaces=0".to_owned()),
        ..user()
    };
    let mut config = Config {
        limits: Limits::default(),
        ..boxed()
    };
    let error = compile(&config, &host).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MountNamespace: it takes a user namespace, which user.max_user_namespaces=0 forbids"
    );
    config.walls.as_mut().unwrap().best_effort = vec![
        Wall::MountNamespace,
        Wall::PidNamespace,
        Wall::IpcNamespace,
        Wall::UtsNamespace,
        Wall::CgroupNamespace,
    ];
    let plan = compile(&config, &host).unwrap();
    assert_eq!(plan.warnings().len(), 5);
    assert!(!plan.to_string().contains("namespaces: "), "{plan}");
}

#[test]
fn limits_that_cannot_be_held_are_named_or_reported() {
    let mut config = boxed();
    assert!(compile(&config, &user()).is_err());
    config.walls.as_mut().unwrap().best_effort = vec![Wall::Limits];
    let plan = compile(&config, &user()).unwrap();
    assert_eq!(plan.warnings()[0].wall, Wall::Limits);
    assert!(
        plan.warnings()[0].reason.contains("memory"),
        "{:?}",
        plan.warnings()
    );
}

#[test]
fn a_box_cannot_be_asked_for_what_makes_no_sense() {
    let refused = |change: fn(&mut Config)| {
        let mut config = boxed();
        change(&mut config);
        compile(&config, &hybrid()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|config| config.process.argv.clear()),
        "the command is empty"
    );
    assert_eq!(
        refused(|config| config.process.working_directory = Some("srv".into())),
        "the working directory srv is not absolute"
    );
    assert_eq!(
        refused(|config| config.process.working_directory = Some("/srv/../etc".into())),
        "the working directory /srv/../etc goes up with `..`"
    );
    assert_eq!(
        refused(|config| config.process.argv.push("a\0b".into())),
        "\"a\\0b\" holds a NUL byte"
    );
}
