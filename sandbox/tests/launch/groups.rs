//! Groups of one launch: limits hold inside, and nothing is left whatever became of the launch.

use std::collections::BTreeSet;
use std::path::PathBuf;

use sandbox::cgroup::Scope;
use sandbox::config::{
    Amount, CgroupLimits, Config, DeviceMatch, DevicePolicy, DeviceRule, Devices, Walls,
};
use sandbox::{Carrier, Host, Plan};

use crate::filters::behind_refusal;
use crate::fixture::{Case, outcome_of, shell};

fn lacks(controller: &str) -> bool {
    let host = Host::detect().unwrap();
    let v1 = host
        .cgroups
        .v1
        .get(controller)
        .is_some_and(|v1| v1.writable);
    let v2 = host.cgroups.v2.as_ref();
    let v2 = v2.is_some_and(|v2| v2.writable && v2.controllers.iter().any(|c| c == controller));
    let lacks = !host.is_root || !(v1 || v2);
    if lacks {
        println!("skipped: no controller {controller} for us here");
    }
    lacks
}

fn limits() -> CgroupLimits {
    CgroupLimits {
        tasks: Some(Amount::Exactly(4)),
        devices: Host::detect()
            .unwrap()
            .cgroups
            .device_programs
            .then(|| Devices {
                policy: DevicePolicy::Closed,
                allow: vec![DeviceRule {
                    device: DeviceMatch::Path("/dev/kmsg".into()),
                    read: false,
                    write: true,
                    make: false,
                    optional: false,
                }],
            }),
        ..CgroupLimits::default()
    }
}

fn scoped(mut config: Config) -> (Plan, Scope) {
    let host = Host::detect().unwrap();
    let limits = limits();
    let scope = Scope::open(&host, "herd-test-launch", &limits).unwrap();
    config.cgroup = Some(scope.name().clone());
    config.limits.cgroup = limits;
    (sandbox::compile(&config, scope.host()).unwrap(), scope)
}

/// The groups of this process's scopes.
fn groups() -> BTreeSet<PathBuf> {
    let host = Host::detect().unwrap();
    let v2 = host.cgroups.v2.iter().map(|v2| v2.own.clone());
    let own = v2.chain(host.cgroups.v1.values().map(|v1| v1.own.clone()));
    let mine = format!("/herd-test-launch-{}-", std::process::id());
    let ours = |path: &PathBuf| path.to_string_lossy().contains(&mine);
    own.flat_map(|own| std::fs::read_dir(own).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(ours)
        .collect()
}

fn has_own_v2_group() -> bool {
    let host = Host::detect().unwrap();
    let has = host.is_root && host.cgroups.v2.is_some_and(|v2| v2.writable);
    if !has {
        println!("skipped: no v2 group of our own here");
    }
    has
}

pub(crate) const INNER: &[Case] = &[("inner::a_bare_launch_without_clone3", || {
    let host = Host::detect().unwrap();
    assert!(host.no_clone3);
    let before = groups();
    let scope = Scope::open(&host, "herd-test-launch", &CgroupLimits::default()).unwrap();
    let mut config = shell("cat /proc/self/cgroup");
    config.cgroup = Some(scope.name().clone());
    let plan = sandbox::compile(&config, scope.host()).unwrap();
    assert_eq!(plan.carrier(), Carrier::Executor);
    let outcome = outcome_of(&plan, &[]);
    let name = &scope.name().0;
    let mut lines = outcome.stdout.lines();
    assert!(
        lines.any(|line| line.starts_with("0::") && line.contains(name)),
        "{outcome:?}"
    );
    scope.close().unwrap();
    assert_eq!(groups(), before);
})];

pub(crate) const CASES: &[Case] = &[
    (
        "a_bare_process_is_in_its_v2_group_where_there_is_no_clone3",
        || {
            if has_own_v2_group() {
                let case = "inner::a_bare_launch_without_clone3";
                behind_refusal(libc::SYS_clone3, libc::ENOSYS, case);
            }
        },
    ),
    ("a_launch_that_fails_at_any_step_leaves_no_group", || {
        if lacks("pids") {
            return;
        }
        for walls in [None, Some(Walls::minimal_box())] {
            let mut config = shell("exit 0");
            config.walls = walls;
            let before = groups();
            let (plan, scope) = scoped(config.clone());
            let steps = plan.steps_len();
            drop((plan, scope));
            for n in 1..=steps {
                let (plan, scope) = scoped(config.clone());
                let failure = outcome_of(&plan.fail_at(n), &[]).failure.unwrap();
                assert_eq!(failure.step, n);
                scope.close().unwrap();
                assert_eq!(groups(), before, "step {n} of {steps}");
            }
        }
    }),
    (
        "a_scope_holds_its_launch_and_ends_what_is_left_of_it",
        || {
            if lacks("pids") {
                return;
            }
            let script = "exec 2>/dev/null; setsid sleep 1000 >/dev/null & : >/dev/null && echo null; \
                      (: >/dev/tty) 2>/dev/null; (: </dev/kmsg) 2>/dev/null || echo shut; \
                      for i in 1 2 3; do sleep 1000 >/dev/null & done; echo more";
            let before = groups();
            let (plan, scope) = scoped(shell(script));
            let outcome = outcome_of(&plan, &[]);
            // Whether or not devices are kept here, the fifth task is refused.
            assert!(outcome.stdout.starts_with("null\n"), "{outcome:?}");
            assert!(!outcome.stdout.contains("more"), "{outcome:?}");
            if limits().devices.is_some() {
                assert_eq!(outcome.stdout, "null\nshut\n");
            }
            assert!(scope.usage().unwrap().tasks.unwrap() >= 1);
            scope.close().unwrap();
            assert_eq!(groups(), before);
        },
    ),
];
