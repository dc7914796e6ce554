//! Ordered mount actions, seen from inside.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sandbox::config::{
    BindMount, BindSource, Data, Held, IdMappedMount, IdRange, MountAction, Root, Walls,
};
use sandbox::host::KernelVersion;
use sandbox::{Config, Host, MountOperation, StepFailure};

use crate::fixture::{Case, Outcome, outcome, outcome_with, plan, shell};

/// An empty root with the host's programs, and then these actions.
pub(crate) fn filled(script: &str, actions: impl IntoIterator<Item = MountAction>) -> Config {
    let programs = [
        ro_bind("/usr", "/usr"),
        link("usr/bin", "/bin"),
        link("usr/lib", "/lib"),
        link("usr/lib64", "/lib64"),
    ];
    empty(script, programs.into_iter().chain(actions))
}

pub(crate) fn empty(script: &str, actions: impl IntoIterator<Item = MountAction>) -> Config {
    let mut walls = Walls::bare();
    walls.root = Root::Empty;
    walls.namespaces.mount = true;
    walls.namespaces.pid = true;
    walls.mounts = actions.into_iter().collect();
    Config {
        walls: Some(walls),
        ..shell(script)
    }
}

fn bind(source: impl AsRef<Path>, target: &str) -> BindMount {
    BindMount {
        source: BindSource::Path(source.as_ref().to_owned()),
        target: target.into(),
        read_only: false,
        devices: false,
        optional: false,
        recursive: true,
        id_map: None,
    }
}

pub(crate) fn rw_bind(source: impl AsRef<Path>, target: &str) -> MountAction {
    MountAction::Bind(bind(source, target))
}

pub(crate) fn ro_bind(source: impl AsRef<Path>, target: &str) -> MountAction {
    MountAction::Bind(BindMount {
        read_only: true,
        ..bind(source, target)
    })
}

pub(crate) fn link(target: &str, path: &str) -> MountAction {
    MountAction::Symlink {
        target: target.into(),
        path: path.into(),
    }
}

pub(crate) fn proc() -> MountAction {
    MountAction::Proc {
        target: "/proc".into(),
    }
}

pub(crate) fn dev() -> MountAction {
    MountAction::Devices {
        target: "/dev".into(),
    }
}

pub(crate) fn tmpfs(target: &str, mode: u32, size: Option<u64>) -> MountAction {
    MountAction::Tmpfs {
        target: target.into(),
        mode,
        size,
    }
}

pub(crate) fn dir(path: &str, mode: u32) -> MountAction {
    MountAction::Directory {
        path: path.into(),
        mode,
    }
}

pub(crate) fn file(path: &str, mode: u32, text: &str) -> MountAction {
    MountAction::File {
        path: path.into(),
        mode,
        data: Data::Bytes(text.into()),
    }
}

pub(crate) fn data(target: &str, read_only: bool, text: &str) -> MountAction {
    MountAction::BindData {
        target: target.into(),
        mode: 0o600,
        data: Data::Bytes(text.into()),
        read_only,
    }
}

/// What the box prints; nothing may fail and nothing be complained about.
pub(crate) fn says(config: &Config) -> String {
    let outcome = outcome(config);
    assert_eq!(outcome.failure, None);
    assert_eq!(outcome.stderr, "");
    outcome.stdout
}

pub(crate) fn failure(config: &Config) -> StepFailure {
    outcome(config).failure.unwrap()
}

pub(crate) fn about(failure: &StepFailure) -> (&MountOperation, &str) {
    let about = failure.mount.as_ref().unwrap();
    (&about.operation, about.path.to_str().unwrap())
}

/// The box with these descriptors held.
fn with_held(config: &Config, held: &[BorrowedFd<'_>]) -> Outcome {
    outcome_with(&plan(config), &[], held)
}

pub(crate) fn from_descriptor(target: &str) -> MountAction {
    MountAction::Bind(BindMount {
        source: BindSource::Descriptor(Held(0)),
        ..bind("/", target)
    })
}

pub(crate) const CASES: &[Case] = &[
    ("the_whole_host_can_be_bound_read_only_as_the_root", || {
        let script = "touch /x 2>&1; test -d /etc && stat -c %a /";
        let config = empty(script, [ro_bind("/", "/")]);
        let refused = "touch: cannot touch '/x': Read-only file system\n";
        assert_eq!(says(&config), format!("{refused}755\n"));
    }),
    ("nothing_of_the_host_lies_on_top_of_the_root", || {
        // `/..` leads to what is mounted on `/`.
        let place = tempfile::tempdir().unwrap();
        let seen = place.path().join("seen");
        let script = format!(
            "touch /..{}; cut -d' ' -f5 /proc/self/mountinfo | grep -cx /",
            seen.display()
        );
        for roots in 1..4 {
            let whole = (0..roots).map(|_| ro_bind("/", "/"));
            let outcome = outcome(&empty(&script, whole.chain([proc()])));
            assert_eq!(outcome.stdout, "1\n", "{roots} roots");
            assert!(outcome.stderr.contains("Read-only"), "{}", outcome.stderr);
            assert!(!seen.exists(), "{roots} roots");
        }
    }),
    ("an_empty_root_has_nothing_but_what_is_put_there", || {
        let script = "ls -A /; stat -c '%a %u' /; touch /new && echo written";
        let text = says(&filled(script, []));
        assert_eq!(text, "bin\nlib\nlib64\nusr\n755 0\nwritten\n");
    }),
    (
        "every_mount_is_nosuid_and_nodev_but_where_devices_are_asked_for",
        || {
            let script = "cut -d' ' -f5,6 /proc/self/mountinfo";
            let devices = MountAction::Bind(BindMount {
                devices: true,
                ..bind("/dev/null", "/null")
            });
            let text = says(&filled(
                script,
                [proc(), tmpfs("/tmp", 0o755, None), devices],
            ));
            for line in text.lines() {
                let (path, options) = line.split_once(' ').unwrap();
                assert!(options.contains("nosuid"), "{line}");
                assert_eq!(!options.contains("nodev"), path == "/null", "{line}");
            }
            assert!(
                text.lines().any(|line| line.starts_with("/usr ro,")),
                "{text}"
            );
            assert!(text.lines().any(|line| line.starts_with("/ rw,")), "{text}");
        },
    ),
    ("later_actions_cover_what_earlier_ones_put_there", || {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), "of the host\n").unwrap();
        let config = filled(
            "ls /a; ls /a/b; cat /a/b/c/file",
            [
                dir("/a/gone", 0o755),
                tmpfs("/a", 0o755, None),
                dir("/a/b", 0o700),
                // Sources are the host's, whatever stands at their path in the box by now.
                tmpfs("/tmp", 0o1777, None),
                rw_bind(place.path(), "/a/b/c"),
            ],
        );
        assert_eq!(says(&config), "b\nc\nof the host\n");
    }),
    ("a_file_is_bound_on_a_file_that_is_made_for_it", || {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("source");
        fs::write(&source, "content\n").unwrap();
        let config = filled(
            "cat /etc/deep/file; echo more >> /etc/deep/file; stat -c %a /etc /etc/deep",
            [rw_bind(&source, "/etc/deep/file")],
        );
        assert_eq!(says(&config), "content\n755\n755\n");
        assert_eq!(fs::read_to_string(&source).unwrap(), "content\nmore\n");
    }),
    ("a_missing_source_is_named_unless_it_is_optional", || {
        let missing = || bind("/nowhere/at/all", "/x");
        let failed = failure(&filled("", [MountAction::Bind(missing())]));
        assert_eq!(about(&failed), (&MountOperation::Source, "/nowhere/at/all"));
        assert!(
            failed
                .to_string()
                .starts_with("hold /nowhere/at/all of the host (step "),
            "{failed}"
        );
        let optional = BindMount {
            optional: true,
            ..missing()
        };
        let config = filled("ls -d /x 2>&1", [MountAction::Bind(optional)]);
        assert!(says(&config).contains("No such file"));
    }),
    ("a_target_of_the_other_kind_is_named", || {
        let failed = failure(&filled("", [file("/x", 0o644, ""), ro_bind("/etc", "/x")]));
        assert_eq!(about(&failed), (&MountOperation::Directory, "/x"));
        assert_eq!(failed.errno, rustix::io::Errno::NOTDIR.raw_os_error());
        let failed = failure(&filled(
            "",
            [dir("/x", 0o755), ro_bind("/etc/passwd", "/x")],
        ));
        assert_eq!(about(&failed), (&MountOperation::File, "/x"));
        assert_eq!(failed.errno, rustix::io::Errno::ISDIR.raw_os_error());
        let failed = failure(&filled(
            "",
            [file("/x", 0o644, ""), ro_bind("/etc", "/x/y/z")],
        ));
        assert_eq!(about(&failed), (&MountOperation::Parents, "/x/y/z"));
    }),
    ("a_target_that_cannot_be_made_is_named", || {
        let failed = failure(&filled("", [dir("/usr/herd-test", 0o755)]));
        assert_eq!(
            about(&failed),
            (&MountOperation::Directory, "/usr/herd-test")
        );
        assert_eq!(failed.errno, rustix::io::Errno::ROFS.raw_os_error());
        assert!(
            failed
                .to_string()
                .contains("cannot make the directory /usr/herd-test"),
            "{failed}"
        );
    }),
    ("directories_and_files_have_their_modes", || {
        let config = filled(
            "stat -c '%a %n' /d /d/e /private /private/file /f; cat /private/file; cat /f",
            [
                dir("/d/e", 0o750),
                dir("/d", 0o111),
                file("/private/file", 0o600, "secret\n"),
                file("/f", 0o4755, "first, and longer\n"),
                file("/f", 0o644, "second\n"),
            ],
        );
        let modes = "750 /d\n750 /d/e\n700 /private\n600 /private/file\n4755 /f\n";
        assert_eq!(says(&config), format!("{modes}secret\nsecond\n"));
    }),
    ("a_mode_can_be_changed_later", || {
        let config = filled(
            "stat -c %a /d",
            [
                dir("/d", 0o755),
                MountAction::Chmod {
                    path: "/d".into(),
                    mode: 0o711,
                },
            ],
        );
        assert_eq!(says(&config), "711\n");
        let failed = failure(&filled(
            "",
            [MountAction::Chmod {
                path: "/nope".into(),
                mode: 0o711,
            }],
        ));
        assert_eq!(about(&failed), (&MountOperation::Mode(0o711), "/nope"));
    }),
    ("a_link_that_reads_the_same_is_left_alone", || {
        let twice = [link("b", "/a/l"), link("b", "/a/l")];
        assert_eq!(says(&filled("readlink /a/l", twice)), "b\n");
        let failed = failure(&filled("", [link("b", "/l"), link("c", "/l")]));
        assert_eq!(
            about(&failed),
            (&MountOperation::SymlinkReads("b".into()), "/l")
        );
        assert!(
            failed.to_string().contains("/l is a link to b already"),
            "{failed}"
        );
        let failed = failure(&filled("", [dir("/l", 0o755), link("c", "/l")]));
        assert_eq!(about(&failed), (&MountOperation::SymlinkOccupied, "/l"));
    }),
    ("a_link_works_whatever_the_working_directory_is", || {
        let place = tempfile::tempdir().unwrap();
        let mut config = filled("readlink /here/l", [link("/usr", "/here/l")]);
        config.process.working_directory = Some("/here".into());
        assert_eq!(says(&config), "/usr\n");
        assert!(!place.path().join("l").exists());
    }),
    ("data_is_bound_from_memory_and_leaves_no_file", || {
        let config = filled(
            "cat /etc/a /etc/b; stat -c '%a %h' /etc/a; echo x > /etc/b; cat /etc/b; (echo x > /etc/a) 2>&1",
            [
                data("/etc/a", true, "read only\n"),
                file("/etc/b", 0o644, "covered\n"),
                data("/etc/b", false, "writable\n"),
            ],
        );
        let text = says(&config);
        assert!(
            text.starts_with("read only\nwritable\n600 1\nx\n"),
            "{text}"
        );
        assert!(text.contains("Read-only file system"), "{text}");
    }),
    ("data_can_be_bound_in_a_box_on_the_host_tree", || {
        let mut config = filled("cat /etc/hostname; readlink -f /usr/../etc", []);
        let walls = config.walls.as_mut().unwrap();
        walls.root = Root::Host;
        walls.mounts = vec![data("/etc/hostname", true, "boxed\n")];
        assert_eq!(says(&config), "boxed\n/etc\n");
    }),
    ("what_a_descriptor_stands_for_can_be_bound", || {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), "content\n").unwrap();
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        for (path, script) in [
            (place.path().to_owned(), "cat /here/file"),
            (place.path().join("file"), "cat /here"),
        ] {
            let opened = rustix::fs::open(path, flags, Mode::empty()).unwrap();
            let answer = with_held(
                &filled(script, [from_descriptor("/here")]),
                &[opened.as_fd()],
            );
            assert_eq!(
                (answer.failure, answer.stdout.as_str()),
                (None, "content\n")
            );
        }
    }),
    (
        "a_descriptor_whose_name_leads_elsewhere_is_not_bound",
        || {
            let place = tempfile::tempdir().unwrap();
            let (file, other) = (place.path().join("file"), place.path().join("other"));
            fs::write(&file, "").unwrap();
            fs::write(&other, "").unwrap();
            let opened = fs::File::open(&file).unwrap();
            let config = filled("", [from_descriptor("/here")]);
            fs::remove_file(&file).unwrap();
            let failed = with_held(&config, &[opened.as_fd()]).failure.unwrap();
            assert_eq!(about(&failed).0, &MountOperation::Source);
            fs::rename(&other, place.path().join("file (deleted)")).unwrap();
            let failed = with_held(&config, &[opened.as_fd()]).failure.unwrap();
            assert_eq!(about(&failed).0, &MountOperation::SourceChanged);
            assert!(
                failed
                    .to_string()
                    .contains("is not what the descriptor stands for"),
                "{failed}"
            );
        },
    ),
    ("files_can_be_filled_from_descriptors", || {
        let long = "0123456789abcdef".repeat(4_000);
        let (from, mut to) = std::io::pipe().unwrap();
        to.write_all(long.as_bytes()).unwrap();
        drop(to);
        let place = tempfile::tempfile().unwrap();
        (&place).write_all(b"skipped content\n").unwrap();
        (&place).seek(SeekFrom::Start(8)).unwrap();
        let config = filled(
            "wc -c < /piped; cat /etc/bound",
            [
                MountAction::File {
                    path: "/piped".into(),
                    mode: 0o644,
                    data: Data::Descriptor(Held(0)),
                },
                MountAction::BindData {
                    target: "/etc/bound".into(),
                    mode: 0o644,
                    data: Data::Descriptor(Held(1)),
                    read_only: true,
                },
            ],
        );
        let answer = with_held(&config, &[from.as_fd(), place.as_fd()]);
        let expected = format!("{}\ncontent\n", long.len());
        assert_eq!((answer.failure, answer.stdout), (None, expected));
    }),
    ("a_source_may_go_through_the_root_again", || {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), "content\n").unwrap();
        let up = format!("../../../..{}/file", place.path().display());
        symlink(up, place.path().join("link")).unwrap();
        let through = place.path().join("link");
        for root in [Root::Empty, Root::Host] {
            let target = if root.is_host() {
                "/etc/hostname"
            } else {
                "/bound"
            };
            let mut config = filled(
                &format!("cat {target}"),
                [data("/etc/passwd", true, "x\n"), ro_bind(&through, target)],
            );
            let walls = config.walls.as_mut().unwrap();
            if root.is_host() {
                walls.mounts.drain(..4);
            }
            walls.root = root;
            assert_eq!(says(&config), "content\n");
        }
    }),
    ("owners_can_be_translated", || {
        use std::os::unix::fs::chown;
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        chown(place.path(), Some(100_000), Some(100_000)).unwrap();
        for (name, id) in [("zero", 100_000), ("user", 101_000), ("none", 0)] {
            let file = place.path().join(name);
            fs::write(&file, "").unwrap();
            chown(&file, Some(id), Some(id)).unwrap();
        }
        let ranges = vec![IdRange {
            inside: 0,
            outside: 100_000,
            count: 65_536,
        }];
        let map = IdMappedMount {
            uids: ranges.clone(),
            gids: ranges,
        };
        let mapped = |source: &Path| {
            MountAction::Bind(BindMount {
                id_map: Some(map.clone()),
                ..bind(source, "/m")
            })
        };
        let script = "stat -c '%n %u %g' /m/zero /m/user /m/none; touch /m/new";
        let config = filled(script, [mapped(place.path())]);
        let seen = "/m/zero 0 0\n/m/user 1000 1000\n/m/none 65534 65534\n";
        assert_eq!(says(&config), seen);
        use std::os::unix::fs::MetadataExt;
        let new = fs::metadata(place.path().join("new")).unwrap();
        assert_eq!((new.uid(), new.gid()), (100_000, 100_000));
        let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(left.err(), Some(rustix::io::Errno::CHILD));
        let failed = failure(&filled("", [mapped(Path::new("/proc"))]));
        assert_eq!(about(&failed), (&MountOperation::IdMap, "/proc"));
        assert!(
            failed
                .to_string()
                .contains("the file system cannot translate owners"),
            "{failed}"
        );
    }),
    ("an_idmapped_mount_that_cannot_be_is_refused", || {
        let with = |ranges: Vec<IdRange>| {
            filled(
                "",
                [MountAction::Bind(BindMount {
                    id_map: Some(IdMappedMount {
                        uids: ranges.clone(),
                        gids: ranges,
                    }),
                    ..bind("/srv", "/m")
                })],
            )
        };
        let host = Host::detect().unwrap();
        let refused =
            |config: &Config, host: &Host| sandbox::compile(config, host).unwrap_err().to_string();
        assert_eq!(
            refused(&with(Vec::new()), &host),
            "the map of users is empty"
        );
        let one = with(vec![IdRange {
            inside: 0,
            outside: 1,
            count: 1,
        }]);
        let old = Host {
            kernel: KernelVersion::new(5, 10),
            ..host.clone()
        };
        assert_eq!(refused(&one, &old), "an idmapped mount takes Linux 5.12");
        let mut in_user_namespace = one;
        in_user_namespace.walls.as_mut().unwrap().namespaces.user = true;
        assert_eq!(
            refused(&in_user_namespace, &host),
            "an idmapped mount takes root, and a box without a user namespace of its own"
        );
    }),
    ("a_tmpfs_has_its_mode_and_size", || {
        let config = filled(
            "stat -c %a /t; df --output=size -B1 /t | tail -1; touch /t/x",
            [proc(), tmpfs("/t", 0o1770, Some(1 << 20))],
        );
        assert_eq!(
            says(&config).split_whitespace().collect::<Vec<_>>(),
            ["1770", "1048576"]
        );
    }),
    (
        "a_new_proc_shows_the_box_and_shuts_what_writes_to_the_machine",
        || {
            let script = "echo /proc/[0-9]*; for f in sys/kernel/core_pattern irq/default_smp_affinity bus/input/devices; do (echo x > /proc/$f) 2>&1 | grep -c 'Read-only'; done";
            assert_eq!(
                says(&filled(script, [proc()])).lines().next(),
                Some("/proc/1 /proc/2")
            );
            assert!(says(&filled(script, [proc()])).ends_with("\n1\n1\n1\n"));
        },
    ),
    ("without_a_pid_namespace_proc_is_the_hosts", || {
        let mut config = filled(
            "test -d /proc/$PPID && echo there; (echo x > /proc/sys/kernel/core_pattern) 2>&1 | grep -c Read-only",
            [proc()],
        );
        config.walls.as_mut().unwrap().namespaces.pid = false;
        assert_eq!(says(&config), "there\n1\n");
    }),
    ("a_new_dev_has_the_usual_things", || {
        let config = filled(
            "cd /dev; ls; head -c 2 zero | od -An -tx1; echo x > null; readlink fd stdin stdout stderr core ptmx; test -c pts/ptmx && touch shm/x && echo writable",
            [proc(), dev()],
        );
        let names = "core\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
        let links = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n/proc/kcore\npts/ptmx\n";
        assert_eq!(says(&config), format!("{names} 00 00\n{links}writable\n"));
    }),
    (
        "a_box_that_may_make_nodes_cannot_open_those_it_makes",
        || {
            let mut config = filled(
                "mknod /dev/x c 1 3 && (echo x > /dev/x) 2>&1; echo y > /dev/null",
                [dev()],
            );
            let walls = config.walls.as_mut().unwrap();
            walls.capability_bounding_set = vec![27];
            assert!(says(&config).contains("Permission denied"));
        },
    ),
    ("message_queues_are_the_boxes_own", || {
        let mut config = filled(
            "ls -A /q; grep -c ' /q .* mqueue ' /proc/self/mountinfo",
            [
                proc(),
                MountAction::MessageQueues {
                    target: "/q".into(),
                },
            ],
        );
        config.walls.as_mut().unwrap().namespaces.ipc = true;
        assert_eq!(says(&config), "1\n");
    }),
    ("one_mount_can_be_made_read_only_later", || {
        let config = filled(
            "touch /a/x 2>&1; touch /a/b/x && echo below",
            [
                tmpfs("/a", 0o755, None),
                tmpfs("/a/b", 0o755, None),
                MountAction::RemountReadOnly { path: "/a".into() },
            ],
        );
        assert_eq!(
            says(&config),
            "touch: cannot touch '/a/x': Read-only file system\nbelow\n"
        );
        let failed = failure(&filled(
            "",
            [
                dir("/d", 0o755),
                MountAction::RemountReadOnly { path: "/d".into() },
            ],
        ));
        assert_eq!(about(&failed), (&MountOperation::ReadOnly, "/d"));
    }),
    (
        "a_read_only_bind_is_read_only_with_every_mount_below",
        || {
            // The executor's own namespace is the place for mounts of a test.
            let script = "touch /host/tmp/x 2>&1 | grep -c Read-only; cut -d' ' -f5,6 /proc/self/mountinfo | grep '^/host' | grep -c ' rw'";
            let config = filled(script, [proc(), ro_bind("/", "/host")]);
            assert_eq!(says(&config), "1\n0\n");
        },
    ),
    ("an_empty_root_can_be_sealed_when_it_is_filled", || {
        let mut config = filled("touch /x 2>&1; touch /t/x", [tmpfs("/t", 0o755, None)]);
        config.walls.as_mut().unwrap().read_only_root = true;
        assert_eq!(
            says(&config),
            "touch: cannot touch '/x': Read-only file system\n"
        );
    }),
    ("walls_come_before_the_ordered_actions", || {
        let device = MountAction::Bind(BindMount {
            devices: true,
            ..bind("/dev/zero", "/dev/extra")
        });
        let mut config = filled(
            "head -c 1 /dev/extra | od -An -tx1; touch /dev/x 2>&1 | grep -c Read-only",
            [device],
        );
        let walls = config.walls.as_mut().unwrap();
        walls.root = Root::Host;
        walls.mounts.drain(..4);
        walls.system_calls.architectures = sandbox::config::Architectures::NATIVE;
        walls.private_devices = true;
        assert_eq!(says(&config), " 00\n1\n");
    }),
    (
        "in_a_box_on_the_host_tree_nothing_is_made_on_the_host",
        || {
            let mut config = filled("", []);
            let walls = config.walls.as_mut().unwrap();
            walls.root = Root::Host;
            for action in [
                dir("/herd-test", 0o755),
                tmpfs("/herd-test", 0o755, None),
                link("x", "/herd-test"),
                file("/herd-test", 0o644, ""),
            ] {
                let mut config = config.clone();
                config.walls.as_mut().unwrap().mounts = vec![action];
                let failed = failure(&config);
                assert_eq!(
                    failed.errno,
                    rustix::io::Errno::NOENT.raw_os_error(),
                    "{failed}"
                );
                assert!(!Path::new("/herd-test").exists());
            }
        },
    ),
    ("links_in_a_box_root_lead_no_action_outside", || {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let target = outside.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&target, root.path().join("absolute")).unwrap();
        let up = format!("../../../../../..{}", target.display());
        symlink(up, root.path().join("climbing")).unwrap();
        for name in ["absolute", "climbing"] {
            let below = format!("/{name}/new");
            for action in [
                dir(&below, 0o755),
                file(&below, 0o644, "x"),
                link("x", &below),
                tmpfs(&below, 0o755, None),
                ro_bind("/etc/passwd", &below),
                data(&below, true, "x"),
                MountAction::Chmod {
                    path: format!("/{name}").into(),
                    mode: 0o700,
                },
                MountAction::RemountReadOnly {
                    path: format!("/{name}").into(),
                },
            ] {
                let mut config = filled("", [action]);
                let walls = config.walls.as_mut().unwrap();
                walls.root = Root::Directory(root.path().to_owned());
                walls.mounts.drain(1..4);
                let _answer = outcome(&config);
                assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
                let mode = fs::metadata(&target).unwrap().permissions().mode();
                assert_eq!(mode & 0o7777, 0o755);
            }
        }
    }),
    (
        "a_failure_at_any_step_of_the_actions_leaves_nothing",
        || {
            let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let place = tempfile::tempdir().unwrap();
            let config = filled(
                "exit 0",
                [
                    proc(),
                    dev(),
                    tmpfs("/tmp", 0o1777, None),
                    data("/etc/x", true, "x"),
                    file("/etc/y", 0o644, "x"),
                    rw_bind(place.path(), "/place"),
                ],
            );
            let plan = plan(&config);
            for n in 1..=plan.steps_len() {
                let failed = crate::fixture::outcome_of(&plan.clone().fail_at(n), &[]);
                assert_eq!(failed.failure.unwrap().step, n);
            }
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
            assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
        },
    ),
];
