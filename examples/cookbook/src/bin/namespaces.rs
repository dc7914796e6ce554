//! Namespaces, one by one: patterns 07 to 09, 27, 31, 32.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]

use std::fs::{self, File};
use std::os::fd::AsFd;

use cookbook::{Outcome, run, shell, show, walls};
use sandbox::Files;
use sandbox::config::{Held, Join, NamespaceKind, NamespaceSource, UserNamespace};
use sandbox::session::{Options, launch, spawn};

fn main() -> Outcome {
    sandbox::executor_entry();
    show(&[
        (
            "07 processes of its own, the host's network",
            pid_without_net,
        ),
        ("08 a hostname", hostname),
        ("09 mounts of its own", mounts),
        ("27 a namespace of another box, by descriptor", join),
        ("31 no further user namespaces", disabled),
        ("32 made sure of", asserted),
    ])
}

fn pid_without_net() -> Outcome {
    let ours = fs::read_link("/proc/self/ns/net")?;
    let script = format!(
        "echo process $$; [ \"$(readlink /proc/self/ns/net)\" = '{}' ] && echo same network",
        ours.display()
    );
    let mut config = shell("s07", &script);
    walls(&mut config).namespaces.pid = true;
    run(&config)?;
    Ok(())
}

fn hostname() -> Outcome {
    let mut config = shell("s08", "cat /proc/sys/kernel/hostname");
    walls(&mut config).namespaces.uts = true;
    walls(&mut config).hostname = Some("inside".into());
    run(&config)?;
    Ok(())
}

fn mounts() -> Outcome {
    let mut config = shell(
        "s09",
        "mount -t tmpfs none /mnt && : >/mnt/inside && ls /mnt",
    );
    walls(&mut config).namespaces.mount = true;
    run(&config)?;
    println!("seen outside: {}", fs::exists("/mnt/inside")?);
    Ok(())
}

fn join() -> Outcome {
    let mut holder = shell("s27", "read wait");
    walls(&mut holder).hostname = Some("joined".into());
    let (theirs, ours) = std::io::pipe()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let files = Files {
        stdin: theirs.as_fd(),
        stdout: null.as_fd(),
        stderr: null.as_fd(),
        ..Files::of_caller()
    };
    let session = spawn(&holder, files, Options::new())?;

    let namespace = File::open(format!("/proc/{}/ns/uts", session.pid()))?;
    let mut config = shell("s27", "cat /proc/sys/kernel/hostname");
    walls(&mut config).join = vec![Join {
        kind: NamespaceKind::Uts,
        from: NamespaceSource::Descriptor(Held(0)),
    }];
    let files = Files {
        held: &[namespace.as_fd()],
        ..Files::of_caller()
    };
    launch(&config, files, Options::new())?;
    drop(ours);
    session.wait()?;
    Ok(())
}

fn disabled() -> Outcome {
    let mut config = shell("s31", "unshare --user true 2>/dev/null || echo refused");
    walls(&mut config).user_namespace = Some(UserNamespace {
        disable_further: true,
        ..UserNamespace::default()
    });
    walls(&mut config).namespaces.pid = true;
    run(&config)?;
    Ok(())
}

fn asserted() -> Outcome {
    for disable_further in [true, false] {
        let mut config = shell("s32", "echo runs");
        walls(&mut config).user_namespace = Some(UserNamespace {
            disable_further,
            ..UserNamespace::default()
        });
        walls(&mut config).namespaces.pid = true;
        walls(&mut config).assert_user_namespaces_disabled = true;
        if let Err(error) = run(&config) {
            println!("{error}");
        }
    }
    Ok(())
}
