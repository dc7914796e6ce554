//! What a launch tells of itself: patterns 03, 10, 26, 28, 29, and a box that an observer refuses.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "an observer looks at the events it cares for"
)]

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;

use cookbook::{Outcome, show};
use sandbox::Files;
use sandbox::config::{Config, Wall};
use sandbox::session::{AbortLaunch, Event, Options, launch, spawn};

fn main() -> Outcome {
    sandbox::executor_entry();
    show(&[
        ("03 events by callback", callback),
        ("an observer that wants the box not to be", refused),
        ("a step that fails", failed),
        ("10 a lock file", lock_file),
        ("26 no wall may be missing", no_warnings),
        ("28, 29 events as lines of JSON", lines),
    ])
}

fn boxed(name: &str, script: &str) -> Config {
    Config::boxed(name, ["/bin/sh", "-c", script])
}

fn word(event: &Event) -> &'static str {
    match event {
        Event::RuntimeInitWarnings { .. } => "warnings",
        Event::Spawned { .. } => "spawned",
        Event::SetupFinished { .. } => "set up",
        Event::Failed { .. } => "failed",
        Event::Exited { .. } => "exited",
        _ => "something newer",
    }
}

fn callback() -> Outcome {
    let options = Options::new().on_event(|told| {
        match &told.event {
            // The box is held: its namespaces can be looked at before anything runs in them.
            Event::Spawned { namespaces, .. } => {
                println!(
                    "spawned in pid namespace of its own: {}",
                    namespaces.pid.is_some()
                );
            }
            Event::Exited { code, .. } => println!("exited with {code:?}"),
            other => println!("{}", word(other)),
        }
        Ok(())
    });
    launch(&boxed("s03", "exit 3"), Files::of_caller(), options)?;
    Ok(())
}

fn refused() -> Outcome {
    let options = Options::new().on_event(|told| match told.event {
        Event::Spawned { .. } => Err(AbortLaunch("not today".to_owned())),
        _ => Ok(()),
    });
    if let Err(error) = spawn(&boxed("refused", "echo never"), Files::of_caller(), options) {
        let why = std::error::Error::source(&error).map(ToString::to_string);
        println!("{error}: {}", why.unwrap_or_default());
    }
    Ok(())
}

fn failed() -> Outcome {
    let options = Options::new().on_event(|told| {
        if let Event::Failed { what, errno, .. } = &told.event {
            println!("failed: {what} ({errno})");
        }
        Ok(())
    });
    let mut config = boxed("failed", "echo never");
    config.process.working_directory = Some("/no/such/place".into());
    if let Err(error) = spawn(&config, Files::of_caller(), options) {
        println!(
            "{}",
            error.to_string().split(" (step").next().unwrap_or_default()
        );
    }
    Ok(())
}

fn lock_file() -> Outcome {
    let path = std::env::temp_dir().join(format!("cookbook-s10-{}", std::process::id()));
    let first = spawn(
        &boxed("s10", "exit 0"),
        Files::of_caller(),
        Options::new().lock_file(&path),
    )?;
    let second = spawn(
        &boxed("s10", "echo never"),
        Files::of_caller(),
        Options::new().lock_file(&path),
    );
    println!("the second one may run: {}", second.is_ok());
    drop(second);
    first.wait()?;
    let third = launch(
        &boxed("s10", "echo the lock is free again"),
        Files::of_caller(),
        Options::new().lock_file(&path),
    );
    std::fs::remove_file(&path)?;
    third?;
    Ok(())
}

fn no_warnings() -> Outcome {
    let mut config = boxed("s26", "echo never");
    // Nobody can hold a limit for a machine with so many CPUs; the box can do without it.
    config.limits.cgroup.cpus = Some("4095".to_owned());
    if let Some(walls) = &mut config.walls {
        walls.best_effort = vec![Wall::Limits];
    }
    let strict = spawn(
        &config,
        Files::of_caller(),
        Options::new().fail_on_warnings(),
    );
    println!("it runs all the same: {}", strict.is_ok());
    Ok(())
}

fn lines() -> Outcome {
    let (reader, writer) = std::io::pipe()?;
    let options = Options::new().events_to(OwnedFd::from(writer));
    launch(&boxed("s29", "exit 0"), Files::of_caller(), options)?;
    for line in BufReader::new(reader).lines() {
        let line = line?;
        let name = line
            .split("\"event\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        println!("{}", name.unwrap_or(&line));
    }
    Ok(())
}
