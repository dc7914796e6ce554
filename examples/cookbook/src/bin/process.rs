//! The process itself: patterns 04 to 06, 21 to 23, 30.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]
#![allow(
    clippy::disallowed_methods,
    reason = "pattern 23 starts a caller that is no box"
)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use cookbook::{Outcome, run, shell, show, walls};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags};
use sandbox::Files;
use sandbox::config::Config;
use sandbox::session::{Options, spawn};

fn main() -> Outcome {
    sandbox::executor_entry();
    if std::env::args().nth(1).as_deref() == Some("caller") {
        return caller();
    }
    show(&[
        ("04 a working directory", working_directory),
        ("05 one variable and nothing else", one_variable),
        ("06 the caller's environment without some", without_some),
        ("21 the command as process 1", process_1),
        ("22 a session of its own", new_session),
        ("23 ends with its caller", die_with_parent),
        ("30 another argv[0]", argv0),
    ])
}

fn working_directory() -> Outcome {
    let mut config = Config::bare("s04", ["/bin/pwd"]);
    config.process.working_directory = Some("/usr".into());
    run(&config)?;
    Ok(())
}

fn one_variable() -> Outcome {
    let mut config = Config::bare("s05", ["/usr/bin/env"]);
    config.process.environment = vec![("HELLO".into(), "WORLD".into())];
    run(&config)?;
    Ok(())
}

fn without_some() -> Outcome {
    let mut config = Config::bare("s06", ["/bin/sh", "-c", "echo ${HOME-none} ${SHLVL+kept}"]);
    // A box inherits nothing: what is to be kept is named, or everything is but for some.
    config.process.environment = std::env::vars_os()
        .chain([("SHLVL".into(), "1".into())])
        .filter(|(name, _)| name != "HOME" && name != "PATH")
        .collect();
    run(&config)?;
    Ok(())
}

fn process_1() -> Outcome {
    let mut config = shell("s21", "echo process $$");
    walls(&mut config).namespaces.pid = true;
    run(&config)?;
    // Now without the reaper: whatever the command leaves behind is its own to reap.
    walls(&mut config).as_pid_1 = true;
    run(&config)?;
    Ok(())
}

fn new_session() -> Outcome {
    let leads = "read -r pid name state parent group session rest </proc/self/stat; \
                 [ $session = $$ ] && echo leads || echo follows";
    for new_session in [true, false] {
        let mut config = Config::bare("s22", ["/bin/sh", "-c", leads]);
        config.process.new_session = new_session;
        run(&config)?;
    }
    Ok(())
}

fn die_with_parent() -> Outcome {
    let mut caller = Command::new(std::env::current_exe()?)
        .arg("caller")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = caller.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let pid = Pid::from_raw(line.trim().parse()?).ok_or("no pid")?;
    let sleeper = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    caller.kill()?;
    caller.wait()?;
    poll(&mut [PollFd::new(&sleeper, PollFlags::IN)], None)?;
    println!("the caller was killed, and the box ended");
    Ok(())
}

/// The caller that is killed.
fn caller() -> Outcome {
    let mut config = Config::boxed("s23", ["/bin/sleep", "1000"]);
    config.process.die_with_parent = true;
    let session = spawn(&config, Files::of_caller(), Options::new())?;
    println!("{}", session.pid());
    session.wait()?;
    Ok(())
}

fn argv0() -> Outcome {
    let mut config = Config::bare("s30", ["/bin/sh", "-c", "echo $0"]);
    config.process.argv0 = Some("renamed".into());
    run(&config)?;
    Ok(())
}
