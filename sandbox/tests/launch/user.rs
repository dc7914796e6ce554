//! Boxes of a caller who is not root. The harness starts itself again as nobody to be one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sandbox::Host;
use sandbox::config::{BoxPath, Identity, Network};

use crate::boxed::boxed;
use crate::fixture::{Case, config, outcome, plan};

const NOBODY: u32 = 65534;

/// Runs the inner case of this name as nobody.
pub(crate) fn as_nobody(case: &str) {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("launch");
    fs::copy("/proc/self/exe", &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let mut inner = config(&[copy.to_str().unwrap(), "--exact", case]);
    inner.identity = Identity {
        uid: Some(NOBODY),
        gid: Some(NOBODY),
        groups: None,
    };
    let outcome = outcome(&inner);
    assert_eq!(outcome.failure, None);
    assert_eq!(
        outcome.status.unwrap().code(),
        Some(0),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
    assert_eq!(outcome.stdout, format!("test {case} ... ok\n"));
}

pub(crate) const CASES: &[Case] = &[
    ("a_user_without_privilege_has_boxes_too", || {
        as_nobody("inner::a_user_box")
    }),
    ("a_user_s_failure_at_any_step_leaves_nothing", || {
        as_nobody("inner::every_step_fails_once")
    }),
    ("a_user_can_start_what_runs_as_itself_by_name", || {
        as_nobody("inner::as_itself")
    }),
    ("a_user_can_start_nobody_else", || {
        as_nobody("inner::another_user_is_refused")
    }),
];

/// Only ever run by [`as_nobody`].
pub(crate) const INNER: &[Case] = &[
    ("inner::a_user_box", || {
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        let script = format!(
            "id -u; echo /proc/[0-9]*; touch /etc/x 2>&1; touch {0}/y; touch {0}/z; ls {0}; \
             grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; echo x > /dev/null; \
             cat /proc/kmsg 2>&1; cat /proc/self/setgroups; grep -c . /proc/net/if_inet6",
            place.path().display()
        );
        let mut config = boxed(&script);
        let walls = config.walls.as_mut().unwrap();
        walls.network = Network::Loopback;
        walls.read_write_paths = vec![BoxPath {
            path: place.path().to_owned(),
            optional: false,
        }];
        let outcome = outcome(&config);
        assert_eq!(outcome.failure, None, "{}", plan(&config));
        assert_eq!(outcome.stderr, "");
        assert_eq!(
            outcome.stdout.lines().collect::<Vec<_>>(),
            [
                "65534",
                // The reaper is not ours to look at, so hidepid hides it.
                "/proc/2",
                "touch: cannot touch '/etc/x': Read-only file system",
                "y",
                "z",
                "CapEff:\t0000000000000000",
                "CapBnd:\t0000000000000000",
                "NoNewPrivs:\t1",
                "cat: /proc/kmsg: Permission denied",
                "deny",
                "1",
            ]
        );
        assert!(place.path().join("z").exists());
    }),
    ("inner::every_step_fails_once", || {
        let plan = plan(&boxed("exit 0"));
        for n in 1..=plan.steps_len() {
            let failure = crate::fixture::outcome_of(&plan.clone().fail_at(n), &[]).failure;
            assert_eq!(failure.unwrap().step, n);
        }
        let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(left.err(), Some(rustix::io::Errno::CHILD));
    }),
    ("inner::as_itself", || {
        let mut config = crate::fixture::shell("id -u");
        config.identity = Identity {
            uid: Some(NOBODY),
            gid: Some(NOBODY),
            groups: Some(Vec::new()),
        };
        assert_eq!(outcome(&config).stdout, "65534\n");
        config.identity.uid = Some(1);
        let failure = outcome(&config).failure.unwrap().to_string();
        assert!(
            failure.starts_with("leave all supplementary groups")
                || failure.starts_with("change to user 1"),
            "{failure}"
        );
    }),
    ("inner::another_user_is_refused", || {
        let mut config = boxed("exit 0");
        config.identity.uid = Some(1);
        let error = sandbox::compile(&config, &Host::detect().unwrap()).unwrap_err();
        assert!(error.to_string().contains("only root"), "{error}");
    }),
];
