//! The command line, as bubblewrap reads it.

use std::collections::HashMap;
use std::ffi::OsString;

use super::arguments::{Arguments, Capabilities, Stop, Surroundings, parse};
use super::check::{Circumstances, settle};
use super::environment::Environment;
use super::operation::{Access, Layers, Operation, Source};

/// Descriptors that hold something, and what was warned of.
#[derive(Default)]
struct World {
    descriptors: HashMap<i32, Vec<u8>>,
    warnings: Vec<String>,
}

impl Surroundings for World {
    fn read(&mut self, descriptor: i32) -> Result<Vec<u8>, i32> {
        self.descriptors.remove(&descriptor).ok_or(libc::EBADF)
    }

    fn warn(&mut self, text: &str, level_prefix: bool) {
        let level = if level_prefix { "<4>" } else { "" };
        self.warnings.push(format!("{level}{text}"));
    }
}

impl World {
    fn holding(descriptor: i32, data: &[u8]) -> Self {
        Self {
            descriptors: HashMap::from([(descriptor, data.to_vec())]),
            warnings: Vec::new(),
        }
    }

    fn parse(&mut self, line: &str) -> Result<Arguments, Stop> {
        self.parse_words(line.split_whitespace().map(OsString::from).collect())
    }

    fn parse_words(&mut self, words: Vec<OsString>) -> Result<Arguments, Stop> {
        parse(words, Environment::default(), 0, self)
    }
}

fn parsed(line: &str) -> Arguments {
    World::default().parse(line).unwrap()
}

fn complaint(answer: Result<Arguments, Stop>) -> String {
    match answer {
        Err(Stop::Complaint(complaint)) => complaint.text.into_string().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn refused(line: &str) -> String {
    complaint(World::default().parse(line))
}

#[test]
fn operations_stay_in_order_with_their_modifiers() {
    let arguments = parsed(
        "--ro-bind /usr /usr --perms 0700 --size 4096 --tmpfs /tmp --tmpfs /run --dir /x \
         --symlink usr/lib /lib --dev-bind-try /dev/kvm /dev/kvm -- sh -c true",
    );
    let bind = |source: &str, target: &str, access, optional| Operation::Bind {
        source: Source::Path(source.into()),
        target: target.into(),
        access,
        optional,
    };
    assert_eq!(
        arguments.operations,
        [
            bind("/usr", "/usr", Access::ReadOnly, false),
            Operation::Tmpfs {
                target: "/tmp".into(),
                mode: 0o700,
                size: Some(4096)
            },
            Operation::Tmpfs {
                target: "/run".into(),
                mode: 0o755,
                size: None
            },
            Operation::Directory {
                path: "/x".into(),
                mode: 0o755
            },
            Operation::Symlink {
                target: "usr/lib".into(),
                path: "/lib".into()
            },
            bind("/dev/kvm", "/dev/kvm", Access::Devices, true),
        ]
    );
    assert_eq!(arguments.command, ["sh", "-c", "true"]);
}

#[test]
fn files_have_the_modes_bubblewrap_gives_them() {
    let arguments = parsed("--file 3 /a --bind-data 4 /b --perms 0640 --ro-bind-data 5 /c true");
    assert_eq!(
        arguments.operations,
        [
            Operation::File {
                descriptor: 3,
                path: "/a".into(),
                mode: 0o666
            },
            Operation::BindData {
                descriptor: 4,
                target: "/b".into(),
                mode: 0o600,
                read_only: false
            },
            Operation::BindData {
                descriptor: 5,
                target: "/c".into(),
                mode: 0o640,
                read_only: true
            },
        ]
    );
}

#[test]
fn layers_of_an_overlay_are_stacked_in_order() {
    let arguments = parsed(
        "--overlay-src /a --overlay-src /b --ro-overlay /c --overlay-src /d --overlay /up /work /e true",
    );
    let [first, second] = &arguments.operations[..] else {
        panic!("{:?}", arguments.operations);
    };
    assert_eq!(
        *first,
        Operation::Overlay {
            lower: vec!["/a".into(), "/b".into()],
            upper: Layers::ReadOnly,
            target: "/c".into()
        }
    );
    assert_eq!(
        *second,
        Operation::Overlay {
            lower: vec!["/d".into()],
            upper: Layers::Persistent {
                upper: "/up".into(),
                work: "/work".into()
            },
            target: "/e".into()
        }
    );
}

#[test]
fn every_refusal_has_the_words_of_bubblewrap() {
    for (line, sentence) in [
        ("--foo", "Unknown option --foo"),
        ("-", "Unknown option -"),
        ("--bind", "--bind takes two arguments"),
        ("--bind /a", "--bind takes two arguments"),
        ("--ro-bind-fd 3", "--bind-fd takes two arguments"),
        ("--args", "--args takes an argument"),
        ("--argv0", "--argv0 takes one argument"),
        ("--argv0 a --argv0 b", "--argv0 used multiple times"),
        ("--chdir", "--chdir takes one argument"),
        ("--remount-ro", "--remount-ro takes one argument"),
        ("--setenv A", "--setenv takes two arguments"),
        ("--setenv A=B C", "setenv failed"),
        ("--unsetenv A=B", "unsetenv failed"),
        ("--overlay /a /b", "--overlay takes three arguments"),
        (
            "--overlay /a /b /c",
            "--overlay requires at least one --overlay-src",
        ),
        (
            "--tmp-overlay /a",
            "--tmp-overlay requires at least one --overlay-src",
        ),
        (
            "--overlay-src /a --ro-overlay /a",
            "--ro-overlay requires at least two --overlay-src",
        ),
        (
            "--overlay-src /a --dir /b true",
            "--overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay",
        ),
        (
            "--overlay-src /a true",
            "--overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay",
        ),
        (
            "--overlay-src",
            "--overlay-src must be followed by another --overlay-src or one of --overlay, --tmp-overlay, or --ro-overlay",
        ),
        ("--exec-label x", "labeling not supported on this system"),
        ("--file-label x", "labeling not supported on this system"),
        ("--info-fd x", "Invalid fd: x"),
        ("--info-fd -1", "Invalid fd: -1"),
        ("--bind-fd 3x /a", "Invalid fd: 3x"),
        ("--file x /a", "Invalid fd: x"),
        ("--uid x", "Invalid uid: x"),
        ("--gid -5", "Invalid gid: -5"),
        ("--cap-add CAP_FOO", "unknown cap: CAP_FOO"),
        ("--cap-drop 64", "unknown cap: 64"),
        (
            "--perms 10000 --dir /a",
            "--perms takes an octal argument <= 07777",
        ),
        ("--perms 9", "--perms takes an octal argument <= 07777"),
        (
            "--perms 1 --perms 2",
            "--perms given twice for the same action",
        ),
        (
            "--perms 1 --bind /a /b",
            "--perms must be followed by an option that creates a file",
        ),
        (
            "--perms 1 --chdir /",
            "--perms must be followed by an option that creates a file",
        ),
        ("--size 0", "--size takes a non-zero number of bytes"),
        ("--size 1k", "--size takes a non-zero number of bytes"),
        (
            "--size 1 --size 1",
            "--size given twice for the same action",
        ),
        ("--size 1 --dir /a", "--size must be followed by --tmpfs"),
        (
            "--size 9223372036854775808",
            "--size (for tmpfs) is limited to 9223372036854775807",
        ),
        ("--chmod 9 /a", "--chmod takes an octal argument <= 07777"),
        (
            "--seccomp 3 --add-seccomp-fd 4",
            "--add-seccomp-fd cannot be combined with --seccomp",
        ),
        ("--args 9", "Can't read --args data: Bad file descriptor"),
        (
            "--add-seccomp-fd 9",
            "Can't read seccomp data: Bad file descriptor",
        ),
        (
            "--memory lots",
            "--memory takes a number of bytes above zero, or one with K, M, G or T",
        ),
        (
            "--landlock-bind 0",
            "--landlock-bind takes a port from 1 to 65535",
        ),
        (
            "--profile hard",
            "--profile takes none, minimal, default or strict, not hard",
        ),
    ] {
        assert_eq!(refused(line), sentence, "{line}");
    }
}

#[test]
fn the_last_of_several_wins_and_that_is_said() {
    let mut world = World::default();
    let arguments = world
        .parse("--chdir /a --level-prefix --chdir /b --info-fd 3 --info-fd 4 --uid 1 --uid 2 true")
        .unwrap();
    assert_eq!(arguments.chdir, Some("/b".into()));
    assert_eq!(arguments.descriptors.info, Some(4));
    assert_eq!(arguments.uid, Some(2));
    assert_eq!(
        world.warnings,
        [
            "<4>Only the last --chdir option will take effect",
            "<4>Only the last --info-fd option will take effect",
            "<4>Only the last --uid option will take effect",
        ]
    );
}

#[test]
fn options_come_from_a_descriptor_too() {
    let mut world = World::holding(7, b"--dir\0/a b\0--setenv\0X\0\0");
    let arguments = world.parse("--args 7 --dir /c true").unwrap();
    assert_eq!(arguments.operations.len(), 2);
    assert_eq!(arguments.environment.of("X"), Some("".as_ref()));
    // Neither a command in the file nor what stands behind it counts.
    let mut world = World::holding(7, b"--unshare-pid\0true\0--unshare-net\0");
    let arguments = world.parse("--args 7 sh").unwrap();
    assert!(arguments.unshare.pid && !arguments.unshare.net);
    assert_eq!(arguments.command, ["sh"]);
    let mut world = World::holding(7, b"--args\x008");
    assert_eq!(
        complaint(world.parse("--args 7 sh")),
        "--args not supported in arguments file"
    );
    let mut world = World::holding(7, b"");
    assert_eq!(world.parse("--args 7 sh").unwrap().command, ["sh"]);
}

#[test]
fn nine_thousand_arguments_are_the_most() {
    let sentence = "Exceeded maximum number of arguments 9000";
    let words = |count: usize| vec![OsString::from("--new-session"); count];
    assert!(World::default().parse_words(words(9000)).is_ok());
    assert_eq!(
        complaint(World::default().parse_words(words(9001))),
        sentence
    );
    let data = b"--new-session\0".repeat(8998);
    assert!(World::holding(3, &data).parse("--args 3").is_ok());
    let data = b"--new-session\0".repeat(8999);
    assert_eq!(
        complaint(World::holding(3, &data).parse("--args 3")),
        sentence
    );
}

#[test]
fn filters_are_read_when_they_are_named() {
    let mut world = World::holding(5, &[0; 16]);
    assert_eq!(
        world.parse("--add-seccomp-fd 5 sh").unwrap().filters.len(),
        1
    );
    let mut world = World::holding(5, &[0; 15]);
    assert_eq!(
        complaint(world.parse("--add-seccomp-fd 5 sh")),
        "Invalid seccomp data, must be multiple of 8"
    );
    let mut world = World::holding(5, &[0; 16]);
    assert_eq!(
        complaint(world.parse("--add-seccomp-fd 5 --seccomp 6 sh")),
        "--seccomp cannot be combined with --add-seccomp-fd"
    );
}

#[test]
fn capabilities_are_named_as_libcap_names_them() {
    let wanted = |line: &str| parsed(line).capabilities;
    let one = Capabilities {
        wanted: 1 << 5,
        chosen: true,
    };
    for name in ["CAP_KILL", "cap_kill", "5", "0x5", "cap_kill,foo", "KILL"] {
        assert_eq!(wanted(&format!("--cap-add {name} sh")), one, "{name}");
    }
    assert_eq!(wanted("--cap-add ALL --cap-drop all sh").wanted, 0);
    assert_eq!(
        wanted("--cap-add all --cap-drop CAP_CHOWN sh").wanted,
        u64::MAX - 1
    );
    assert!(!wanted("sh").chosen);
}

#[test]
fn sharing_the_net_works_after_unsharing_all_only() {
    let unshare = parsed("--unshare-all --share-net sh").unshare;
    assert!(!unshare.net && unshare.pid && unshare.user_try && !unshare.user);
    assert!(parsed("--share-net --unshare-all sh").unshare.net);
}

#[test]
fn help_and_version_end_the_reading() {
    for (line, stop) in [
        ("--dir /a --help --foo", Stop::Help),
        ("-h", Stop::Help),
        ("--version --foo", Stop::Version),
    ] {
        assert_eq!(World::default().parse(line), Err(stop), "{line}");
    }
}

#[test]
fn the_manual_tells_of_every_option_and_of_no_other() {
    let manual = include_str!("../../../man/vb.1").replace("\\-", "-");
    let mut told: Vec<&str> = manual
        .split(".TP\n")
        .skip(1)
        .filter_map(|entry| entry.split_whitespace().nth(1))
        .collect();
    let table = super::options::BUBBLEWRAP.iter().chain(super::options::OWN);
    let mut known: Vec<&str> = table.map(|one| one.name).collect();
    told.sort_unstable();
    known.sort_unstable();
    assert_eq!(told, known);
}

const ROOT: Circumstances = Circumstances {
    uid: 0,
    gid: 0,
    user_namespaces: true,
    cgroup_namespaces: true,
};
const USER: Circumstances = Circumstances {
    uid: 1000,
    gid: 1000,
    ..ROOT
};

#[test]
fn combinations_are_refused_in_the_words_of_bubblewrap() {
    for (line, who, sentence) in [
        (
            "--userns-block-fd 3 sh",
            USER,
            "--userns-block-fd requires --unshare-user",
        ),
        (
            "--userns-block-fd 3 --unshare-user sh",
            USER,
            "--userns-block-fd requires --info-fd",
        ),
        (
            "--userns 3 --unshare-user sh",
            ROOT,
            "--userns not compatible --unshare-user",
        ),
        (
            "--userns 3 --unshare-all sh",
            ROOT,
            "--userns not compatible --unshare-user-try",
        ),
        (
            "--disable-userns sh",
            USER,
            "--disable-userns requires --unshare-user",
        ),
        (
            "--disable-userns --unshare-user --userns-block-fd 3 --info-fd 4 sh",
            USER,
            "--disable-userns is not compatible with  --userns-block-fd",
        ),
        (
            "--uid 5 sh",
            ROOT,
            "Specifying --uid requires --unshare-user or --userns",
        ),
        (
            "--gid 5 sh",
            ROOT,
            "Specifying --gid requires --unshare-user or --userns",
        ),
        (
            "--hostname x sh",
            USER,
            "Specifying --hostname requires --unshare-uts",
        ),
        (
            "--as-pid-1 sh",
            USER,
            "Specifying --as-pid-1 requires --unshare-pid",
        ),
        (
            "--as-pid-1 --unshare-pid --lock-file /x sh",
            USER,
            "Specifying --as-pid-1 and --lock-file is not permitted",
        ),
    ] {
        assert_eq!(
            settle(&mut parsed(line), &who),
            Err(Some(sentence)),
            "{line}"
        );
    }
    assert_eq!(settle(&mut parsed("--unshare-all"), &ROOT), Err(None));
    assert_eq!(settle(&mut parsed("--uid 0 sh"), &ROOT), Ok(()));
    assert_eq!(settle(&mut parsed("--uid 5 sh"), &USER), Ok(()));
}

#[test]
fn try_means_where_the_machine_can() {
    let settled = |line: &str, who| {
        let mut arguments = parsed(line);
        settle(&mut arguments, &who).unwrap();
        arguments.unshare
    };
    let unable = Circumstances {
        user_namespaces: false,
        cgroup_namespaces: false,
        ..ROOT
    };
    assert!(settled("--unshare-all sh", ROOT).user);
    assert!(settled("--unshare-all sh", ROOT).cgroup);
    let unshare = settled("--unshare-all sh", unable);
    assert!(!unshare.user && !unshare.cgroup);
    assert!(settled("sh", USER).user);
    assert!(!settled("sh", ROOT).user);
    assert_eq!(
        settle(&mut parsed("--unshare-cgroup sh"), &unable),
        Err(Some(
            "Cannot create new cgroup namespace because the kernel does not support it"
        ))
    );
}

proptest::proptest! {
    #[test]
    fn no_command_line_makes_the_parser_panic(
        words in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::sample::select(
                    super::options::BUBBLEWRAP
                        .iter()
                        .chain(super::options::OWN)
                        .map(|one| one.name.to_owned())
                        .collect::<Vec<_>>(),
                ),
                "[-/0-9a-z=]{0,6}",
            ],
            0..12,
        )
    ) {
        let words = words.into_iter().map(OsString::from).collect();
        // Whatever the answer is, there is one.
        drop(World::holding(3, b"--dir\0/a").parse_words(words));
    }
}
