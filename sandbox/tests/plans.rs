//! Plans as text, for a table of machines. `HERD_BLESS=1 cargo test -p sandbox --test plans` writes
//! the files anew; the difference is what review reads.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::Path;

use sandbox::config::{
    Amount, Bind, CgroupName, Directory, Identity, Lifecycle, Limits, Network, PathAccess,
    PathRule, PortAccess, PortRule, Ports, Process, Root, Scope, Wall, Walls,
};
use sandbox::host::{Architecture, Cgroups, Forbidder, KernelVersion, UserNamespaces, V1, V2};
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
        namespaces: Host::all_namespaces(),
        no_new_proc: None,
        no_new_hostname: None,
        no_new_mounts: None,
        no_clone3: false,
        keyrings: true,
        keyrings_shut: false,
        memory_bytes: 1 << 30,
        cpus: 2,
        threads_max: 10_000,
        landlock_abi: 7,
        seccomp: true,
        overlay: true,
        user_mode: None,
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
        device_programs: false,
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
        whole: false,
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
fn a_v2_group_that_nobody_can_be_born_in_is_joined_by_an_executor() {
    let carrier = |config: &Config, host: &Host| compile(config, host).unwrap().carrier();
    let filtered = Host {
        no_clone3: true,
        ..pure_v2()
    };
    let old = Host {
        kernel: KernelVersion::new(5, 6),
        ..pure_v2()
    };
    for host in [filtered, old] {
        assert_eq!(carrier(&limited(), &host), Carrier::Executor);
        let groupless = Config {
            cgroup: None,
            ..bare()
        };
        assert_eq!(carrier(&groupless, &host), Carrier::Vfork);
    }
}

#[test]
fn no_new_privileges_stand_before_landlock_then_the_filter_then_exec() {
    for host in [hybrid(), pure_v2()] {
        let text = compile(&boxed(), &host).unwrap().to_string();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once(". ").unwrap().1)
            .collect();
        let end = lines.len();
        assert!(lines[end - 1].starts_with("execute "), "{text}");
        assert!(lines[end - 2].starts_with("seccomp: "), "{text}");
        assert_eq!(lines[end - 3], "landlock: enforce this from now on");
        assert_eq!(lines[end - 5], "refuse new privileges from now on");
    }
}

/// What is said of this box on this host with nothing relaxed, and what is given up with `relaxed`.
fn relaxed(config: &Config, host: &Host, relaxed: &[Wall]) -> (String, Vec<Wall>) {
    let mut config = Config {
        limits: Limits::default(),
        ..config.clone()
    };
    let refused = compile(&config, host).unwrap_err().to_string();
    config.walls.as_mut().unwrap().best_effort = relaxed.to_vec();
    let plan = compile(&config, host).unwrap();
    let given_up = plan.warnings().iter().map(|given_up| given_up.wall);
    (refused, given_up.collect())
}

fn without_user_namespaces() -> Host {
    Host {
        user_namespaces: UserNamespaces::Refused(Forbidder::Setting(
            "user.max_user_namespaces=0".into(),
        )),
        ..user()
    }
}

#[test]
fn a_user_without_user_namespaces_loses_each_wall_by_its_name() {
    let (refused, given_up) = relaxed(&boxed(), &without_user_namespaces(), &Wall::OF_NAMESPACES);
    assert_eq!(
        refused,
        "mount_namespace: it takes a user namespace, which user.max_user_namespaces=0 forbids"
    );
    let all = [
        Wall::MountNamespace,
        Wall::ReadOnlyRoot,
        Wall::PrivateTmp,
        Wall::PrivateDevices,
        Wall::ProtectHome,
        Wall::ProtectProc,
        Wall::ProtectKernelTunables,
        Wall::ProtectKernelModules,
        Wall::ProtectKernelLogs,
        Wall::ProtectControlGroups,
        Wall::PidNamespace,
        Wall::IpcNamespace,
        Wall::UtsNamespace,
        Wall::CgroupNamespace,
    ];
    assert_eq!(given_up, all);
    // None of them goes because another one went.
    for missing in all {
        let mut config = Config {
            limits: Limits::default(),
            ..boxed()
        };
        let others = all.into_iter().filter(|wall| *wall != missing).collect();
        config.walls.as_mut().unwrap().best_effort = others;
        let error = compile(&config, &without_user_namespaces()).unwrap_err();
        assert!(error.to_string().starts_with(missing.name()), "{error}");
    }
}

#[test]
fn a_box_without_namespaces_still_has_its_filter_and_no_new_privileges() {
    let mut config = Config {
        limits: Limits::default(),
        ..boxed()
    };
    config.walls.as_mut().unwrap().best_effort = Wall::OF_NAMESPACES.to_vec();
    let weak = compile(&config, &without_user_namespaces())
        .unwrap()
        .to_string();
    let whole = compile(&config, &user()).unwrap().to_string();
    let filter = |plan: &str| {
        let line = plan.lines().find(|line| line.contains("seccomp: "));
        line.unwrap().split_once(". ").unwrap().1.to_owned()
    };
    assert_eq!(filter(&weak), filter(&whole));
    assert!(weak.contains("refuse new privileges from now on"), "{weak}");
    assert!(!weak.contains("new namespaces"), "{weak}");
}

#[test]
fn files_that_a_box_promises_are_never_given_up() {
    let mut config = box_root();
    config.identity = Identity::default();
    config.limits = Limits::default();
    config.walls.as_mut().unwrap().best_effort = Wall::OF_NAMESPACES.to_vec();
    let error = compile(&config, &without_user_namespaces()).unwrap_err();
    assert_eq!(error.to_string(), "mount_namespace: box_root takes it");
    let walls = config.walls.as_mut().unwrap();
    walls.root = Root::Host;
    walls.binds[0].target = "/elsewhere".into();
    let error = compile(&config, &without_user_namespaces()).unwrap_err();
    assert_eq!(error.to_string(), "mount_namespace: bind_paths takes it");
}

#[test]
fn a_proc_that_is_covered_costs_a_user_the_pid_namespace() {
    let host = Host {
        no_new_proc: Some("a mount on /proc/kcore hides a part of this one".to_owned()),
        ..user()
    };
    let both = [Wall::ProtectProc, Wall::PidNamespace];
    let (refused, given_up) = relaxed(&boxed(), &host, &both);
    let why = "no other /proc can be mounted: a mount on /proc/kcore hides a part of this one";
    assert_eq!(refused, format!("protect_proc: {why}"));
    assert_eq!(given_up, both);
    // To root it is nothing.
    let root = Host {
        no_new_proc: host.no_new_proc,
        ..hybrid()
    };
    assert!(compile(&boxed(), &root).unwrap().warnings().is_empty());
}

#[test]
fn a_host_name_that_is_refused_costs_a_user_the_uts_namespace() {
    let host = Host {
        no_new_hostname: Some("somebody forbids it".to_owned()),
        ..user()
    };
    let (refused, given_up) = relaxed(&boxed(), &host, &[Wall::UtsNamespace]);
    let why = "uts_namespace: no host name can be set in one: somebody forbids it";
    assert_eq!(refused, why);
    assert_eq!(given_up, [Wall::UtsNamespace]);
    // To root it is nothing.
    let root = Host {
        no_new_hostname: host.no_new_hostname,
        ..hybrid()
    };
    assert!(compile(&boxed(), &root).unwrap().warnings().is_empty());
}

#[test]
fn walls_that_a_kernel_does_not_have_are_named_or_reported() {
    let old = Host {
        kernel: KernelVersion::new(5, 4),
        ..pure_v2()
    };
    let (refused, given_up) = relaxed(&boxed(), &old, &[Wall::ProtectProc]);
    assert_eq!(refused, "protect_proc: it takes Linux 5.8");
    assert_eq!(given_up, [Wall::ProtectProc]);
    let mut host = pure_v2();
    host.namespaces.cgroup = false;
    let (refused, given_up) = relaxed(&boxed(), &host, &[Wall::CgroupNamespace]);
    assert_eq!(refused, "cgroup_namespace: the kernel has none");
    assert_eq!(given_up, [Wall::CgroupNamespace]);
    let host = Host {
        keyrings: false,
        ..pure_v2()
    };
    let (refused, given_up) = relaxed(&boxed(), &host, &[Wall::Keyring]);
    assert_eq!(refused, "keyring: the kernel gives us no session keyring");
    assert_eq!(given_up, [Wall::Keyring]);
    // What nobody can reach needs no wall.
    let shut = Host {
        keyrings_shut: true,
        ..host
    };
    assert!(compile(&boxed(), &shut).unwrap().warnings().is_empty());
    let host = Host {
        no_new_mounts: Some("somebody forbids it".to_owned()),
        ..pure_v2()
    };
    let (refused, _) = relaxed(&boxed(), &host, &Wall::OF_NAMESPACES);
    let why = "mount_namespace: no mounts can be made in one: somebody forbids it";
    assert_eq!(refused, why);
    let host = Host {
        seccomp: false,
        ..pure_v2()
    };
    let (refused, given_up) = relaxed(&boxed(), &host, &[Wall::SystemCalls]);
    assert_eq!(refused, "the system call filter cannot be made");
    assert_eq!(given_up, [Wall::SystemCalls]);
}

#[test]
fn rules_that_landlock_is_too_old_for_are_named_or_reported() {
    let with_abi = |landlock_abi| Host {
        landlock_abi,
        ..pure_v2()
    };
    let mut config = boxed();
    let landlock = &mut config.walls.as_mut().unwrap().landlock;
    landlock.paths = vec![PathRule {
        path: "/srv".into(),
        access: PathAccess::Read,
        optional: false,
    }];
    landlock.ports = vec![PortRule {
        ports: Ports::One(443),
        access: PortAccess::Connect,
    }];
    landlock.scopes.signals = Scope::Shut;
    let (refused, given_up) = relaxed(&config, &with_abi(3), &[Wall::Landlock]);
    assert_eq!(
        refused,
        "landlock: this kernel's landlock is ABI 3, which cannot deny TCP (ABI 4), ioctls on \
         devices (ABI 5), signals (ABI 6)"
    );
    // The rules, and the scope that the default box has where the kernel can.
    assert_eq!(given_up, [Wall::Landlock, Wall::Landlock]);
    let (refused, _) = relaxed(&config, &with_abi(0), &[Wall::Landlock]);
    assert_eq!(
        refused,
        "landlock: this kernel has no landlock, or has it switched off"
    );
    config.limits = Limits::default();
    config.walls.as_mut().unwrap().best_effort = vec![Wall::Landlock];
    let plan = compile(&config, &with_abi(3)).unwrap().to_string();
    assert!(
        plan.contains("landlock: deny 15 rights to files, but for the rules (ABI 3)"),
        "{plan}"
    );
    assert!(plan.contains("landlock: allow to read /srv"), "{plan}");
    assert!(!plan.contains("443"), "{plan}");
}

#[test]
fn the_default_box_stands_on_a_kernel_without_scopes_and_says_what_it_lacks() {
    for landlock_abi in [0, 5] {
        let host = Host {
            landlock_abi,
            ..pure_v2()
        };
        let plan = compile(&boxed(), &host).unwrap();
        assert!(!plan.to_string().contains(". landlock: "), "{plan}");
        let told = &plan.warnings()[0];
        assert_eq!(told.wall, Wall::Landlock);
        assert!(
            told.reason
                .starts_with("abstract unix sockets outside stay within reach: "),
            "{}",
            told.reason
        );
        // In a network of its own there are none in reach.
        let mut alone = boxed();
        alone.walls.as_mut().unwrap().network = Network::None;
        assert!(compile(&alone, &host).unwrap().warnings().is_empty());
    }
}

#[test]
fn capabilities_that_cannot_be_bounded_are_named_or_reported() {
    let no_setpcap = Host {
        capabilities: !(1 << 8),
        ..pure_v2()
    };
    let (refused, given_up) = relaxed(&boxed(), &no_setpcap, &[Wall::Capabilities]);
    assert_eq!(refused, "capabilities: root here lacks CAP_SETPCAP");
    assert_eq!(given_up, [Wall::Capabilities]);
    // A user without namespaces bounds nothing, which only matters where something can be gained.
    let mut config = boxed();
    config.walls = Some(Walls {
        capability_bounding_set: Vec::new(),
        ..Walls::bare()
    });
    let (refused, given_up) = relaxed(&config, &user(), &[Wall::Capabilities]);
    assert_eq!(
        refused,
        "capabilities: only root bounds capabilities that a setuid program could gain"
    );
    assert_eq!(given_up, [Wall::Capabilities]);
    config.walls.as_mut().unwrap().no_new_privileges = true;
    config.limits = Limits::default();
    assert!(compile(&config, &user()).unwrap().warnings().is_empty());
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
