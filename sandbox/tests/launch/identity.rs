//! User namespaces, maps and capabilities, as root and as a normal user.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sandbox::config::{
    Capabilities, IdMaps, IdRange, Identity, Keyring, Namespaces, RestrictNamespaces, SecureBit,
    UserNamespace, Walls,
};
use sandbox::{Config, Host};

use crate::attacks::probe;
use crate::attempt::attempt;
use crate::fixture::{Case, config, outcome, outcome_of, plan, shell};
use crate::user::as_nobody;

/// Namespaces and nothing finer, without a reaper in the way.
fn walls() -> Walls {
    Walls {
        namespaces: Namespaces {
            mount: true,
            pid: true,
            ..Namespaces::default()
        },
        capability_bounding_set: Vec::new(),
        ..Walls::bare()
    }
}

fn alone(uid: u32, gid: u32, script: &str) -> Config {
    Config {
        identity: Identity {
            uid: Some(uid),
            gid: Some(gid),
            groups: None,
        },
        walls: Some(Walls {
            user_namespace: Some(UserNamespace::default()),
            ..walls()
        }),
        ..shell(script)
    }
}

fn range(inside: u32, outside: u32, count: u32) -> IdRange {
    IdRange {
        inside,
        outside,
        count,
    }
}

fn mapped(uids: Vec<IdRange>, gids: Vec<IdRange>, script: &str) -> Config {
    Config {
        walls: Some(Walls {
            user_namespace: Some(UserNamespace {
                maps: IdMaps::Ranges { uids, gids },
                ..UserNamespace::default()
            }),
            ..walls()
        }),
        ..shell(script)
    }
}

fn lines(config: &Config) -> Vec<String> {
    let outcome = outcome(config);
    assert_eq!(outcome.failure, None, "{}", plan(config));
    assert_eq!(outcome.stderr, "", "{}", plan(config));
    // The kernel pads maps with blanks.
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    outcome.stdout.lines().map(words).collect()
}

fn refusal(config: &Config) -> String {
    sandbox::compile(config, &Host::detect().unwrap())
        .unwrap_err()
        .to_string()
}

const WHO: &str = "echo $(id -u) $(id -g); cat /proc/self/uid_map /proc/self/gid_map \
                   /proc/self/setgroups; grep -E '^Cap(Eff|Bnd|Amb)' /proc/self/status";

const NO_CAPABILITIES: [&str; 3] = [
    "CapEff: 0000000000000000",
    "CapBnd: 0000000000000000",
    "CapAmb: 0000000000000000",
];

fn every_step_fails_once(config: &Config) {
    let plan = plan(config);
    for n in 1..=plan.steps_len() {
        let failure = outcome_of(&plan.clone().fail_at(n), &[]).failure;
        assert_eq!(failure.map(|failure| failure.step), Some(n), "{plan}");
    }
    let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert_eq!(left.err(), Some(rustix::io::Errno::CHILD));
}

pub(crate) const CASES: &[Case] = &[
    (
        "root_alone_in_a_user_namespace_is_whoever_it_asks_to_be",
        || {
            for id in [0, 1000, 65534] {
                let seen = lines(&alone(id, id + 1, WHO));
                let own = [format!("{id} {}", id + 1), format!("{id} 0 1")];
                let rest = [format!("{} 0 1", id + 1), "deny".to_owned()];
                let wanted: Vec<String> = own.into_iter().chain(rest).collect();
                assert_eq!(seen[..4], wanted);
                assert_eq!(seen[4..], NO_CAPABILITIES);
            }
        },
    ),
    (
        "a_user_alone_in_a_user_namespace_is_whoever_it_asks_to_be",
        || {
            as_nobody("inner::alone");
        },
    ),
    ("root_maps_ranges_itself", || {
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let file = place.path().join("made-inside");
        let script = format!("{WHO}; touch {}; id -G", file.display());
        let mut config = mapped(
            vec![range(0, 100_000, 1000)],
            vec![range(0, 200_000, 500), range(500, 300_000, 1)],
            &script,
        );
        config.identity.groups = Some(vec![7, 500]);
        let seen = lines(&config);
        let wanted = [
            "0 0",
            "0 100000 1000",
            "0 200000 500",
            "500 300000 1",
            "allow",
        ];
        assert_eq!(seen[..5], wanted);
        assert_eq!(seen[5..8], NO_CAPABILITIES);
        assert_eq!(seen[8], "0 7 500");
        let made = fs::metadata(&file).unwrap();
        assert_eq!((made.uid(), made.gid()), (100_000, 200_000));
    }),
    ("any_user_of_a_mapped_range_can_be_the_one_inside", || {
        let ranges = vec![range(0, 100_000, 1000)];
        let mut config = mapped(
            ranges.clone(),
            ranges,
            "id -u; id -g; id -G; grep CapAmb /proc/self/status",
        );
        config.identity.uid = Some(33);
        config.identity.gid = Some(34);
        let walls = config.walls.as_mut().unwrap();
        walls.capability_bounding_set = vec![10];
        walls.ambient_capabilities = vec![10];
        assert_eq!(
            lines(&config),
            ["33", "34", "34", "CapAmb: 0000000000000400"]
        );
    }),
    (
        "a_map_without_user_0_makes_its_box_as_the_user_it_has",
        || {
            let mut config = mapped(vec![range(5, 100_000, 1)], vec![range(6, 100_000, 1)], WHO);
            config.identity.uid = Some(5);
            config.identity.gid = Some(6);
            config.walls.as_mut().unwrap().private_tmp = true;
            let seen = lines(&config);
            assert_eq!(seen[0], "5 6");
            assert_eq!(seen[4..], NO_CAPABILITIES);
        },
    ),
    ("whoever_has_no_place_in_a_map_is_refused_by_name", || {
        let ranges = vec![range(0, 100_000, 10)];
        let mut config = mapped(ranges.clone(), ranges.clone(), "exit 0");
        config.identity.uid = Some(10);
        assert_eq!(refusal(&config), "10 has no place in the map of users");
        config.identity = Identity {
            uid: None,
            gid: Some(3),
            groups: Some(vec![11]),
        };
        assert_eq!(refusal(&config), "11 has no place in the map of groups");
        let config = mapped(vec![range(1, 100_000, 10)], ranges, "exit 0");
        assert_eq!(refusal(&config), "0 has no place in the map of users");
    }),
    ("overlapping_ranges_are_refused_by_name", || {
        let ranges = vec![range(0, 100_000, 10), range(5, 200_000, 1)];
        let config = mapped(ranges.clone(), ranges, "exit 0");
        assert_eq!(
            refusal(&config),
            "the map of users: 0:100000:10 and 5:200000:1 overlap inside"
        );
    }),
    ("a_failure_in_a_box_with_maps_leaves_nothing", || {
        let ranges = vec![range(0, 100_000, 1000)];
        let mut config = mapped(ranges.clone(), ranges, "exit 0");
        config.identity.uid = Some(1);
        every_step_fails_once(&config);
        let mut config = alone(1000, 1000, "exit 0");
        let walls = config.walls.as_mut().unwrap();
        walls.user_namespace.as_mut().unwrap().nested = true;
        walls.user_namespace.as_mut().unwrap().disable_further = true;
        walls.assert_user_namespaces_disabled = true;
        every_step_fails_once(&config);
    }),
    (
        "capabilities_of_a_nested_user_namespace_do_not_reach_its_mounts",
        || {
            for (nested, answer) in [(false, "0"), (true, "32")] {
                let mut config = alone(
                    1000,
                    1000,
                    "cat /proc/self/uid_map; umount /proc 2>/dev/null; echo $?",
                );
                let walls = config.walls.as_mut().unwrap();
                walls.user_namespace.as_mut().unwrap().nested = nested;
                walls.capability_bounding_set = (0..=40).collect();
                walls.capabilities = Capabilities::Exactly((0..=40).collect());
                // What lies on the host's /proc is locked: our own goes on top of it.
                let outside = "0";
                assert_eq!(
                    lines(&config),
                    [format!("1000 {outside} 1"), answer.to_owned()]
                );
            }
        },
    ),
    ("given_capabilities_are_ambient_and_outlive_execve", || {
        for user in [0, 1000] {
            let mut config = alone(user, user, "grep -E '^Cap' /proc/self/status");
            let walls = config.walls.as_mut().unwrap();
            walls.capability_bounding_set = vec![10, 12];
            walls.capabilities = Capabilities::Exactly(vec![12]);
            let one = "0000000000001000";
            assert_eq!(
                lines(&config),
                [
                    format!("CapInh: {one}"),
                    format!(
                        "CapPrm: {}",
                        if user == 0 { "0000000000001400" } else { one }
                    ),
                    format!(
                        "CapEff: {}",
                        if user == 0 { "0000000000001400" } else { one }
                    ),
                    "CapBnd: 0000000000001400".to_owned(),
                    format!("CapAmb: {one}"),
                ]
            );
        }
    }),
    (
        "a_capability_outside_of_the_bounding_set_is_refused_by_name",
        || {
            let mut config = alone(0, 0, "exit 0");
            config.walls.as_mut().unwrap().ambient_capabilities = vec![21];
            assert_eq!(
                refusal(&config),
                "capabilities: sys_admin is to be given and not in the bounding set"
            );
        },
    ),
    ("further_user_namespaces_can_be_disabled", || {
        for keeps_resource in [false, true] {
            let script = "unshare -U true 2>/dev/null; echo $?; \
                          echo 5 2>/dev/null > /proc/sys/user/max_user_namespaces; echo $?";
            let mut config = alone(0, 0, script);
            let walls = config.walls.as_mut().unwrap();
            walls.restrict_namespaces = RestrictNamespaces::None;
            walls.assert_user_namespaces_disabled = true;
            walls.user_namespace.as_mut().unwrap().disable_further = true;
            if keeps_resource {
                walls.capability_bounding_set = (0..=40).collect();
                // It may write, but into the second namespace's own counter.
                assert_eq!(lines(&config), ["1", "0"]);
            } else {
                assert_eq!(lines(&config), ["1", "2"]);
            }
        }
    }),
    (
        "user_namespaces_that_are_not_disabled_end_the_launch_that_says_so",
        || {
            let mut config = alone(0, 0, "exit 0");
            config
                .walls
                .as_mut()
                .unwrap()
                .assert_user_namespaces_disabled = true;
            let failure = outcome(&config).failure.unwrap().to_string();
            assert!(
                failure.contains("creation of new user namespaces was not disabled as requested"),
                "{failure}"
            );
        },
    ),
    ("a_user_maps_ranges_by_newuidmap", || {
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = place.path().join("subids");
        fs::write(&file, "nobody:100000:65536\n").unwrap();
        let copy = place.path().join("launch");
        fs::copy("/proc/self/exe", &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        let script = format!(
            "for f in subuid subgid; do mount --bind {0} /etc/$f || exit 9; done; \
             exec setpriv --reuid 65534 --regid 65534 --groups 65534,4711 {1} --exact \
             inner::ranges_by_newuidmap",
            file.display(),
            copy.display()
        );
        let outcome = outcome(&config(&["unshare", "-m", "sh", "-c", &script]));
        assert_eq!(
            outcome.stdout, "test inner::ranges_by_newuidmap ... ok\n",
            "{}",
            outcome.stderr
        );
    }),
    (
        "a_group_that_a_file_denies_something_to_cannot_be_left",
        || {
            // CVE-2014-8989: whoever may leave a group gains what a file denies to that group.
            let place = tempfile::tempdir_in("/var/tmp").unwrap();
            fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let file = place.path().join("denied");
            fs::write(&file, "secret").unwrap();
            std::os::unix::fs::chown(&file, Some(0), Some(4711)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
            let copy = place.path().join("launch");
            fs::copy("/proc/self/exe", &copy).unwrap();
            let script = format!(
                "cd {}; exec setpriv --reuid 65534 --regid 65534 --groups 4711 ./launch --exact \
             inner::denied_group",
                place.path().display()
            );
            let outcome = outcome(&config(&["sh", "-c", &script]));
            assert_eq!(
                outcome.stdout, "test inner::denied_group ... ok\n",
                "{}",
                outcome.stderr
            );
        },
    ),
    ("keys_cross_a_box_only_as_its_keyring_mode_says", || {
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        let own = std::env::current_exe().unwrap();
        // A user that nobody else's keyring hangs on.
        let mut inner = config(&[own.to_str().unwrap(), "--exact", "inner::keyrings"]);
        inner.process.working_directory = Some(place.path().to_owned());
        let outcome = outcome(&inner);
        assert_eq!(
            outcome.stdout, "test inner::keyrings ... ok\n",
            "{}",
            outcome.stderr
        );
    }),
    ("secure_bits_outlive_execve_and_a_change_of_user", || {
        let script = "/usr/sbin/capsh --print | grep -E '^Securebits|secure-'; grep CapEff /proc/self/status";
        let mut config = shell(script);
        config.walls = Some(Walls {
            secure_bits: vec![SecureBit::NoRoot, SecureBit::NoRootLocked],
            ..Walls::bare()
        });
        let root = lines(&config);
        assert!(root[0].contains("0x3"), "{root:?}");
        // User 0 is nobody special any more.
        assert_eq!(root.last().unwrap(), NO_CAPABILITIES[0]);
        config.identity.uid = Some(65_534);
        let walls = config.walls.as_mut().unwrap();
        walls.secure_bits = vec![SecureBit::NoSetuidFixup, SecureBit::KeepCapsLocked];
        walls.ambient_capabilities = vec![10];
        let user = lines(&config);
        assert!(user[0].contains("0x24"), "{user:?}");
        assert_eq!(user.last().unwrap(), "CapEff: 0000000000000400");
    }),
    (
        "a_host_or_domain_name_makes_a_uts_namespace_and_leaves_the_hosts",
        || {
            let names = || {
                ["hostname", "domainname"]
                    .map(|name| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap())
            };
            let before = names();
            let mut config = shell("cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname");
            config.walls = Some(Walls {
                hostname: Some("inside".into()),
                domainname: Some("inner.example".to_owned()),
                ..Walls::bare()
            });
            assert_eq!(lines(&config), ["inside", "inner.example"]);
            assert_eq!(names(), before);
        },
    ),
];

/// Only ever run by the cases above, most of them as nobody.
pub(crate) const INNER: &[Case] = &[
    ("inner::denied_group", || {
        let place = std::env::current_dir().unwrap();
        let file = place.join("denied").display().to_string();
        for user in [0, 65_534] {
            let mut config = alone(user, user, "exit 0");
            let walls = config.walls.as_mut().unwrap();
            walls.capability_bounding_set = (0..=40).collect();
            walls.capabilities = Capabilities::Exactly((0..=40).collect());
            let attacks = ["setgroups".to_owned(), format!("read,{file}")];
            let attacks: Vec<&str> = attacks.iter().map(String::as_str).collect();
            let seen = probe(config, &attacks);
            let seen: Vec<&str> = seen.iter().map(|(_, answer)| answer.as_str()).collect();
            assert_eq!(seen, ["EPERM", "EACCES"]);
        }
    }),
    ("inner::keyrings", || {
        let here = |attack: &str, words: &[&str]| attempt(attack, words).unwrap().unwrap();
        here("new-session-keyring", &[]);
        here("put-key", &["-3", "of-the-session"]);
        let find = &["find-key,of-the-session", "find-key,of-the-user"];
        for (mode, session, user) in [
            (Keyring::Inherit, "ok", "ENOKEY"),
            (Keyring::Private, "ENOKEY", "ENOKEY"),
            (Keyring::Shared, "ENOKEY", "ok"),
        ] {
            let mut config = shell("exit 0");
            config.walls = Some(Walls {
                keyring: mode,
                ..Walls::bare()
            });
            here("put-key", &["-4", "of-the-user"]);
            let seen = probe(config, find);
            here("empty-keyring", &["-4"]);
            let seen: Vec<&str> = seen.iter().map(|(_, answer)| answer.as_str()).collect();
            assert_eq!(seen, [session, user], "{mode:?}");
        }
    }),
    ("inner::alone", || {
        for id in [0, 1000, 65534] {
            let seen = lines(&alone(id, id, WHO));
            let own = [format!("{id} {id}"), format!("{id} 65534 1")];
            assert_eq!(seen[..2], own);
            assert_eq!(seen[3], "deny");
            assert_eq!(seen[4..], NO_CAPABILITIES);
        }
        let mut config = alone(7, 7, "grep CapEff /proc/self/status");
        let walls = config.walls.as_mut().unwrap();
        walls.capability_bounding_set = vec![12];
        walls.capabilities = Capabilities::Exactly(vec![12]);
        assert_eq!(lines(&config), ["CapEff: 0000000000001000"]);
        config.walls.as_mut().unwrap().user_namespace = Some(UserNamespace {
            nested: true,
            disable_further: true,
            ..UserNamespace::default()
        });
        every_step_fails_once(&config);
        config.identity.groups = Some(vec![5]);
        assert_eq!(
            refusal(&config),
            "user_namespace: supplementary groups can be changed only by root, or with a range of \
             groups (subgid(5)) as the map"
        );
    }),
    ("inner::ranges_by_newuidmap", || {
        let own = |id| range(0, id, 1);
        let subids = range(1, 100_000, 65_536);
        let maps = || vec![own(65_534), subids];
        let mut config = mapped(maps(), maps(), &format!("{WHO}; id -G"));
        let seen = lines(&config);
        let wanted = [
            "0 0",
            "0 65534 1",
            "1 100000 65536",
            "0 65534 1",
            "1 100000 65536",
            "allow",
        ];
        assert_eq!(seen[..6], wanted);
        assert_eq!(seen[6..9], NO_CAPABILITIES);
        // A range of groups lets even a normal user's box leave the groups of its caller.
        assert_eq!(seen[9], "0");
        config.identity.uid = Some(70);
        every_step_fails_once(&config);
        // Somebody else's range.
        let config = mapped(vec![range(0, 1_000_000, 10)], maps(), "exit 0");
        let failure = outcome(&config).failure.unwrap();
        let text = failure.to_string();
        assert!(
            text.contains("newuidmap: uid range [0-10) -> [1000000-1000010) not allowed"),
            "{text}"
        );
        // Only the own group: groups are locked, and asking for others is refused.
        let mut config = mapped(maps(), vec![own(65_534)], "cat /proc/self/setgroups");
        assert_eq!(lines(&config), ["deny"]);
        config.identity.groups = Some(Vec::new());
        assert!(refusal(&config).contains("subgid(5)"));
    }),
];
