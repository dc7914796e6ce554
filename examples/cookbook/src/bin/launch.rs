//! Starting something, and how it ended: patterns 01, 02, 35, and what a failure looks like.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]

use cookbook::{Outcome, show};
use sandbox::Files;
use sandbox::config::{Config, Root};
use sandbox::session::{Options, ShellConfig, launch, launch_shell, spawn};

fn main() -> Outcome {
    sandbox::executor_entry();
    show(&[
        ("01 a command in the default box", minimal),
        ("02 a shell with arguments", shell_with_arguments),
        ("35 a session", session),
        ("a command that is not there", failure),
        ("a program ended by a signal", signal),
    ])
}

fn minimal() -> Outcome {
    let config = Config::boxed("s01", ["/bin/true"]);
    let outcome = launch(&config, Files::of_caller(), Options::new())?;
    println!("{:?} with {}", outcome.reason, outcome.exit_code());
    Ok(())
}

fn shell_with_arguments() -> Outcome {
    let mut shell = ShellConfig::new(Root::Host);
    shell.arguments = vec!["-c".into(), "echo hi from $0".into(), "s02".into()];
    launch_shell(&shell, Files::of_caller(), Options::new())?;
    Ok(())
}

fn session() -> Outcome {
    let config = Config::boxed("s35", ["/bin/sh", "-c", "exit 7"]);
    let session = spawn(&config, Files::of_caller(), Options::new())?;
    println!("it has a pid: {}", session.pid() > 0);
    // `wait` takes the session: there is no second wait to get wrong.
    let outcome = session.wait()?;
    println!("it ended with {}", outcome.exit_code());
    Ok(())
}

fn failure() -> Outcome {
    let config = Config::boxed("lost", ["/no/such/command"]);
    match spawn(&config, Files::of_caller(), Options::new()) {
        Ok(_) => println!("it runs?"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}

fn signal() -> Outcome {
    let config = Config::boxed("killed", ["/bin/sh", "-c", "kill -9 $$"]);
    let outcome = launch(&config, Files::of_caller(), Options::new())?;
    println!("{:?} with {}", outcome.reason, outcome.exit_code());
    Ok(())
}
