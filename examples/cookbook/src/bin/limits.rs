//! What a box may use: pattern 34, and what is told of a box that used too much.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]

use cookbook::{Outcome, run, show};
use sandbox::config::{Amount, Config, Resource, Rlimit};

fn main() -> Outcome {
    sandbox::executor_entry();
    show(&[
        ("34 memory, cpu and tasks", limits),
        ("tasks beyond the limit", tasks),
        ("memory beyond the limit", memory),
        ("a limit of each process", each),
    ])
}

fn boxed(name: &str, script: &str) -> Config {
    Config::boxed(name, ["/bin/sh", "-c", script])
}

fn limits() -> Outcome {
    let mut config = boxed("s34", "echo within its limits");
    let group = &mut config.limits.cgroup;
    group.memory = Some(Amount::Exactly(256 << 20));
    group.cpu_percent = Some(50);
    group.tasks = Some(Amount::Exactly(64));
    let outcome = run(&config)?;
    println!("{:?} with {}", outcome.reason, outcome.exit_code());
    Ok(())
}

fn tasks() -> Outcome {
    let script = "i=0; while [ $i -lt 20 ]; do sleep 60 >/dev/null 2>&1 & i=$((i + 1)); done; echo all of them";
    // What looks at it takes no task more.
    let look = "exec grep -o 'Cannot fork' /tmp/said";
    let mut config = boxed("tasks", &format!("({script}) >/tmp/said 2>&1; {look}"));
    config.limits.cgroup.tasks = Some(Amount::Exactly(10));
    run(&config)?;
    Ok(())
}

fn memory() -> Outcome {
    let mut config = boxed("memory", "exec tail /dev/zero");
    config.limits.cgroup.memory = Some(Amount::Exactly(32 << 20));
    config.limits.cgroup.swap = Some(Amount::Exactly(0));
    let outcome = run(&config)?;
    println!("{:?} with {}", outcome.reason, outcome.exit_code());
    Ok(())
}

fn each() -> Outcome {
    let mut config = boxed("files", "ulimit -n");
    config.limits.rlimits = vec![Rlimit {
        resource: Resource::OpenFiles,
        soft: Some(64),
        hard: Some(64),
    }];
    run(&config)?;
    Ok(())
}
