//! Boxes as root, seen from inside.

use sandbox::config::Walls;
use sandbox::{Carrier, Config};

use crate::fixture::{Case, outcome, outcome_of, plan, shell};

pub(crate) fn boxed(script: &str) -> Config {
    Config { walls: Some(Walls::default_box()), ..shell(script) }
}

pub(crate) const CASES: &[Case] = &[
    ("a_box_runs_its_command_and_tells_its_exit_code", || {
        let plan = plan(&boxed("echo in the box; exit 7"));
        println!("{plan}");
        assert_eq!(plan.carrier(), Carrier::Executor);
        let outcome = outcome_of(&plan, &[]);
        assert_eq!(outcome.failure, None);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("in the box\n", ""));
        assert_eq!(outcome.status.unwrap().code(), Some(7));
    }),
    ("x", || {
        let outcome = outcome(&boxed("ls /proc; cat /proc/self/status; cat /proc/self/mountinfo; ls -la /dev /home /proc/1/; hostname; ls -l /proc/self/fd; cat /proc/self/cgroup; cat /proc/kcore; echo > /proc/sysrq-trigger; echo > /proc/sys/kernel/core_pattern; touch /x /tmp/x; id"));
        println!("{}{}{:?}", outcome.stdout, outcome.stderr, outcome.status);
    }),
];
