//! Overlays, roots of every kind, where programs may run, and old kernels.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use sandbox::config::{
    BoxPath, EnterRoot, MountAction, Propagation, Root, RootOverlay, Upper, Walls,
};
use sandbox::host::KernelVersion;
use sandbox::{Config, Files, Host, MountOperation};
use tempfile::TempDir;

use crate::fixture::{Case, launcher, outcome, outcome_of, plan, shell};
use crate::mounts::{about, dev, failure, filled, link, proc, ro_bind, rw_bind, says, tmpfs};

/// Directories with one file each: directory, file, line.
pub(crate) fn layers(files: &[(&str, &str, &str)]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for (layer, name, line) in files {
        fs::create_dir_all(place.path().join(layer)).unwrap();
        if !name.is_empty() {
            fs::write(place.path().join(layer).join(name), format!("{line}\n")).unwrap();
        }
    }
    place
}

pub(crate) fn overlay(place: &TempDir, lower: &[&str], upper: Upper, target: &str) -> MountAction {
    MountAction::Overlay {
        lower: lower.iter().map(|name| place.path().join(name)).collect(),
        upper,
        target: target.into(),
    }
}

pub(crate) fn closed(path: &str) -> BoxPath {
    BoxPath {
        path: path.into(),
        optional: false,
    }
}

/// A root with the host's programs in a directory `root`, without mount points of the walls.
fn directory_root(script: &str) -> (TempDir, Config) {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    for name in ["usr", "etc"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let mut config = filled(script, []);
    let walls = config.walls.as_mut().unwrap();
    walls.root = Root::Directory(root);
    walls.mounts.drain(1..);
    (place, config)
}

fn walls(config: &mut Config) -> &mut Walls {
    config.walls.as_mut().unwrap()
}

fn refusal(config: &Config) -> String {
    let host = Host::detect().unwrap();
    sandbox::compile(config, &host).unwrap_err().to_string()
}

const MOUNTS: &str = "cut -d' ' -f5,6 /proc/self/mountinfo";

/// The options of every mount that is not covered: it comes later than what it covers.
fn visible(mounts: &str) -> BTreeMap<&str, &str> {
    mounts
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect()
}

fn old_kernel() -> Host {
    Host {
        kernel: KernelVersion::new(5, 10),
        ..Host::detect().unwrap()
    }
}

pub(crate) const INNER: &[Case] = &[("inner::mount_beside_a_box", || {
    let place = tempfile::tempdir().unwrap();
    let later = place.path().join("later");
    fs::create_dir(&later).unwrap();
    for (propagation, seen) in [
        (Propagation::Private, ""),
        (Propagation::FromHost, "here\n"),
    ] {
        let (mut out, out_end) = std::io::pipe().unwrap();
        let (input, mut input_end) = std::io::pipe().unwrap();
        let bound = rw_bind(place.path(), "/p");
        let mut config = filled("echo ready; read go; ls /p/later", [bound]);
        walls(&mut config).propagation = propagation;
        let files = Files {
            stdin: input.as_fd(),
            stdout: out_end.as_fd(),
            stderr: out_end.as_fd(),
            passed: &[],
            held: &[],
            own: &[],
        };
        let launcher = launcher();
        let launched = launcher.launch(&plan(&config), files).unwrap();
        drop((out_end, input));
        let mut ready = [0; 6];
        out.read_exact(&mut ready).unwrap();
        mount("tmpfs", &later, "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write(later.join("here"), "").unwrap();
        input_end.write_all(b"go\n").unwrap();
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, seen);
        unmount(&later, UnmountFlags::empty()).unwrap();
        crate::fixture::wait(&launched.pidfd);
    }
})];

pub(crate) const CASES: &[Case] = &[
    ("a_new_overlay_leaves_its_layers_as_they_were", || {
        let place = layers(&[
            ("low", "a", "lowest"),
            ("low", "b", "low"),
            ("high", "b", "high"),
        ]);
        let config = filled(
            "cat /o/a /o/b; echo new > /o/a; rm /o/b; cat /o/a; ls /o",
            [overlay(&place, &["low", "high"], Upper::Temporary, "/o")],
        );
        assert_eq!(says(&config), "lowest\nhigh\nnew\na\n");
        let lowest = fs::read_to_string(place.path().join("low/a")).unwrap();
        assert_eq!(lowest, "lowest\n");
        assert!(place.path().join("high/b").exists());
    }),
    ("a_read_only_overlay_shows_all_its_layers", || {
        let place = layers(&[
            ("one", "a", "1"),
            ("two", "a", "2"),
            ("two", "b", "2"),
            ("three", "c", "3"),
        ]);
        let stacked = overlay(&place, &["one", "two", "three"], Upper::ReadOnly, "/o");
        let config = filled("cat /o/a /o/b /o/c; touch /o/x 2>&1", [stacked]);
        let refused = "touch: cannot touch '/o/x': Read-only file system\n";
        assert_eq!(says(&config), format!("2\n2\n3\n{refused}"));
    }),
    (
        "a_kept_overlay_writes_to_the_host_and_can_be_used_again",
        || {
            let place = layers(&[
                ("low", "a", "low"),
                ("upper", "u", "upper"),
                ("work", "", ""),
            ]);
            let kept = || Upper::Persistent {
                upper: place.path().join("upper"),
                work: place.path().join("work"),
            };
            let script = "cat /o/a; echo kept > /o/new; rm /o/a";
            let first = filled(script, [overlay(&place, &["low"], kept(), "/o")]);
            assert_eq!(says(&first), "low\n");
            let written = fs::read_to_string(place.path().join("upper/new")).unwrap();
            assert_eq!(written, "kept\n");
            let again = [overlay(&place, &["low"], kept(), "/o")];
            assert_eq!(says(&filled("ls /o; cat /o/new", again)), "new\nu\nkept\n");
        },
    ),
    (
        "paths_of_layers_may_hold_what_the_kernel_separates_by",
        || {
            let odd = "a:b,c\\d\\:e";
            let place = layers(&[("low", "a", "low"), (odd, "b", "odd")]);
            let upper = layers(&[("u:p,p\\er", "", ""), ("wo:rk", "", "")]);
            let kept = Upper::Persistent {
                upper: upper.path().join("u:p,p\\er"),
                work: upper.path().join("wo:rk"),
            };
            for writes in [Upper::Temporary, Upper::ReadOnly, kept] {
                let stacked = overlay(&place, &["low", odd], writes, "/o");
                assert_eq!(says(&filled("cat /o/a /o/b", [stacked])), "low\nodd\n");
            }
        },
    ),
    ("forty_layers_are_stacked", || {
        let names: Vec<String> = (0..40).map(|number| format!("layer{number}")).collect();
        let files: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), "file", name.as_str()))
            .collect();
        let place = layers(&files);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let config = filled(
            "cat /o/file",
            [overlay(&place, &names, Upper::Temporary, "/o")],
        );
        let refused = |host: &Host| sandbox::compile(&config, host).unwrap_err().to_string();
        let reason = "an overlay of more than 14 lower directories takes Linux 6.7";
        assert_eq!(refused(&old_kernel()), reason);
        let host = Host::detect().unwrap();
        if host.kernel < KernelVersion::new(6, 7) {
            assert_eq!(refused(&host), reason);
        } else {
            assert_eq!(says(&config), "layer39\n");
        }
    }),
    ("a_layer_that_is_missing_is_named", || {
        let place = layers(&[("low", "a", "low")]);
        let stacked = overlay(&place, &["nope", "low"], Upper::Temporary, "/o");
        let failed = failure(&filled("", [stacked]));
        let path = place.path().join("nope");
        assert_eq!(
            about(&failed),
            (&MountOperation::Source, path.to_str().unwrap())
        );
    }),
    ("a_read_only_overlay_of_one_layer_is_refused", || {
        let place = layers(&[("low", "a", "low")]);
        let config = filled("", [overlay(&place, &["low"], Upper::ReadOnly, "/o")]);
        assert_eq!(
            refusal(&config),
            "a read-only overlay needs two lower directories at least"
        );
    }),
    ("a_root_can_be_written_to_in_memory", || {
        let (place, mut config) = directory_root(
            "echo x > /etc/file && cat /etc/file; mkdir /new; touch /usr/x 2>&1 | grep -c Read-only; ls /",
        );
        walls(&mut config).root_overlay = RootOverlay::Temporary;
        let text = says(&config);
        assert!(text.starts_with("x\n1\nbin\ndev\netc\n"), "{text}");
        assert!(text.contains("\nnew\n"), "{text}");
        let root = place.path().join("root");
        assert_eq!(fs::read_dir(root.join("etc")).unwrap().count(), 0);
        assert!(!root.join("proc").exists(), "mount points are made above");
    }),
    ("a_root_can_be_written_to_elsewhere", || {
        let (place, mut config) = directory_root("echo x > /etc/file");
        fs::create_dir(place.path().join("upper")).unwrap();
        fs::create_dir(place.path().join("work")).unwrap();
        walls(&mut config).root_overlay = RootOverlay::Persistent {
            upper: place.path().join("upper"),
            work: place.path().join("work"),
        };
        assert_eq!(says(&config), "");
        let written = fs::read_to_string(place.path().join("upper/etc/file")).unwrap();
        assert_eq!(written, "x\n");
        assert!(!place.path().join("root/etc/file").exists());
    }),
    ("a_sealed_overlay_root_still_gets_its_mount_points", || {
        let (_place, mut config) =
            directory_root("touch /x 2>&1; touch /tmp/x; ls /proc/self/fd | wc -l");
        walls(&mut config).root_overlay = RootOverlay::Temporary;
        walls(&mut config).read_only_root = true;
        let refused = "touch: cannot touch '/x': Read-only file system\n";
        assert_eq!(says(&config), format!("{refused}4\n"));
    }),
    ("an_overlay_root_takes_a_directory", || {
        let mut config = filled("", []);
        walls(&mut config).root_overlay = RootOverlay::Temporary;
        assert_eq!(
            refusal(&config),
            "an overlay root takes a directory: the host's tree is many file systems"
        );
    }),
    ("a_root_can_be_entered_by_chroot", || {
        let script = "ls -A /; pwd; ls /..; cut -d' ' -f5 /proc/self/mountinfo | sort";
        let mut config = filled(script, [proc()]);
        let pivoted = says(&config);
        walls(&mut config).enter_root = EnterRoot::Chroot;
        assert_eq!(says(&config), pivoted);
        walls(&mut config).root = Root::Host;
        walls(&mut config).mounts.clear();
        assert_eq!(
            refusal(&config),
            "chroot takes a root of the box's own to change to"
        );
    }),
    ("the_cgroup_tree_can_be_mounted", || {
        let script = "test -f /cg/cgroup.procs && echo there; mkdir /cg/x 2>&1 | grep -c Read-only";
        let groups = MountAction::ControlGroups {
            target: "/cg".into(),
            read_only: true,
        };
        let mut config = filled(script, [groups]);
        walls(&mut config).namespaces.cgroup = true;
        assert_eq!(says(&config), "there\n1\n");
    }),
    ("programs_run_only_from_where_they_may", || {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("in")).unwrap();
        for name in ["true", "in/true"] {
            fs::copy("/bin/true", place.path().join(name)).unwrap();
        }
        let script =
            "/usr/bin/true && echo usr; /p/true; echo $?; /p/in/true && echo in; touch /p/x";
        let mut config = filled(script, [rw_bind(place.path(), "/p")]);
        walls(&mut config).no_exec_paths = vec![closed("/")];
        walls(&mut config).exec_paths = vec![closed("/usr"), closed("/p/in")];
        let answer = outcome(&config);
        assert_eq!(answer.failure, None);
        assert_eq!(answer.stdout, "usr\n126\nin\n");
        walls(&mut config).no_exec_paths = vec![closed("/nope")];
        let failed = failure(&config).to_string();
        assert!(
            failed.starts_with("let no program run from /nope or below (step "),
            "{failed}"
        );
        walls(&mut config).no_exec_paths[0].optional = true;
        assert_eq!(outcome(&config).failure, None);
    }),
    (
        "programs_can_be_forbidden_below_a_directory_of_the_host",
        || {
            let place = tempfile::tempdir().unwrap();
            fs::copy("/bin/true", place.path().join("true")).unwrap();
            let path = place.path().to_str().unwrap();
            let mut config = filled(&format!("{path}/true; echo $?"), []);
            walls(&mut config).root = Root::Host;
            walls(&mut config).mounts.clear();
            walls(&mut config).no_exec_paths = vec![closed(path)];
            assert_eq!(outcome(&config).stdout, "126\n");
        },
    ),
    (
        "on_a_kernel_without_mount_setattr_every_mount_is_changed_by_itself",
        || {
            let script = format!("{MOUNTS}; touch /host/tmp/x 2>&1");
            let actions = [
                proc(),
                ro_bind("/", "/host"),
                tmpfs("/t", 0o755, None),
                dev(),
                MountAction::RemountReadOnly { path: "/t".into() },
            ];
            let config = filled(&script, actions);
            let plan = sandbox::compile(&config, &old_kernel()).unwrap();
            let first = "make all mounts private, one by one\n";
            assert!(plan.to_string().contains(first), "{plan}");
            let answer = outcome_of(&plan, &[]);
            assert_eq!(answer.failure, None);
            assert_eq!(visible(&answer.stdout), visible(&says(&config)));
        },
    ),
    (
        "the_default_box_is_the_same_on_a_kernel_without_mount_setattr",
        || {
            let config = crate::boxed::boxed(MOUNTS);
            let plan = sandbox::compile(&config, &old_kernel()).unwrap();
            let answer = outcome_of(&plan, &[]);
            assert_eq!(answer.failure, None);
            assert_eq!(visible(&answer.stdout), visible(&says(&config)));
        },
    ),
    (
        "later_mounts_of_the_host_come_in_only_where_they_are_let",
        || {
            // In a namespace of its own, so that the machine's stays as it is.
            let own = std::env::current_exe().unwrap();
            let script = format!(
                "unshare -m --propagation shared {} --exact inner::mount_beside_a_box",
                own.display()
            );
            let answer = outcome(&shell(&script));
            let passed = "inner::mount_beside_a_box ... ok";
            assert!(answer.stdout.contains(passed), "{answer:?}");
        },
    ),
    ("a_failure_at_any_step_of_the_layers_leaves_nothing", || {
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = layers(&[("low", "a", ""), ("upper", "", ""), ("work", "", "")]);
        let kept = Upper::Persistent {
            upper: place.path().join("upper"),
            work: place.path().join("work"),
        };
        let (root, mut config) = directory_root("exit 0");
        walls(&mut config).root_overlay = RootOverlay::Temporary;
        walls(&mut config).read_only_root = true;
        walls(&mut config).no_exec_paths = vec![closed("/etc")];
        walls(&mut config).exec_paths = vec![closed("/usr")];
        walls(&mut config).mounts.extend([
            overlay(&place, &["low"], Upper::Temporary, "/tmp/a"),
            overlay(&place, &["low"], kept, "/tmp/b"),
            MountAction::ControlGroups {
                target: "/tmp/cg".into(),
                read_only: false,
            },
            link("x", "/tmp/link"),
        ]);
        let plan = plan(&config);
        for n in 1..=plan.steps_len() {
            let failed = outcome_of(&plan.clone().fail_at(n), &[]);
            assert_eq!(failed.failure.unwrap().step, n);
        }
        assert_eq!(outcome_of(&plan, &[]).failure, None);
        let root = fs::read_dir(root.path().join("root")).unwrap().count();
        assert_eq!(root, 5, "nothing is made in the root itself");
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    }),
];
