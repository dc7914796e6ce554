//! Landlock alone, without a namespace: what no rule grants is denied, also to root.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]

use cookbook::{Outcome, run, shell, show, walls};
use sandbox::config::{Landlock, Network, PathAccess, PathRule, PortAccess, PortRule, Ports};

fn main() -> Outcome {
    sandbox::executor_entry();
    println!(
        "this kernel has landlock: {}",
        sandbox::Host::detect()?.landlock_abi > 0
    );
    show(&[
        ("programs may run, files may be read", reading),
        ("one directory may be written", writing),
        ("one port may be listened on", ports),
        ("nothing at all", nothing),
    ])
}

fn grant(path: &str, access: PathAccess) -> PathRule {
    PathRule {
        path: path.into(),
        access,
        optional: true,
    }
}

/// Programs and their libraries.
fn programs() -> Vec<PathRule> {
    ["/usr", "/bin", "/lib", "/lib64"]
        .map(|path| grant(path, PathAccess::Execute))
        .to_vec()
}

fn reading() -> Outcome {
    let mut config = shell(
        "reading",
        "test -r /usr/bin/env && echo reads; ls /etc 2>&1; touch /usr/x 2>&1",
    );
    walls(&mut config).no_new_privileges = true;
    walls(&mut config).landlock = Landlock {
        enabled: true,
        paths: programs(),
        ..Landlock::default()
    };
    run(&config)?;
    Ok(())
}

fn writing() -> Outcome {
    let place = std::env::temp_dir().join(format!("cookbook-landlock-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    let script = "cd \"$PLACE\" && echo text >file && cat file && rm file; (echo no >../cookbook-no) 2>/dev/null || echo only there";
    let mut config = shell("writing", script);
    config
        .process
        .environment
        .push(("PLACE".into(), place.clone().into()));
    walls(&mut config).no_new_privileges = true;
    let mut paths = programs();
    paths.push(PathRule {
        path: place.clone(),
        access: PathAccess::ReadWrite,
        optional: false,
    });
    paths.push(grant("/dev/null", PathAccess::ReadWrite));
    walls(&mut config).landlock = Landlock {
        enabled: true,
        paths,
        ..Landlock::default()
    };
    let ran = run(&config);
    std::fs::remove_dir_all(&place)?;
    ran?;
    Ok(())
}

fn ports() -> Outcome {
    let script = "perl -MIO::Socket::INET -e 'for (18080, 18081) { print $_, IO::Socket::INET->new(\
                  Listen => 1, LocalAddr => \"127.0.0.1\", LocalPort => $_) ? \" open\\n\" : \" shut\\n\" }'";
    let mut config = shell("ports", script);
    walls(&mut config).network = Network::Loopback;
    walls(&mut config).no_new_privileges = true;
    let mut paths = programs();
    paths.push(grant("/etc", PathAccess::Read));
    paths.push(grant("/dev", PathAccess::ReadWrite));
    walls(&mut config).landlock = Landlock {
        enabled: true,
        paths,
        ports: vec![PortRule {
            ports: Ports::One(18080),
            access: PortAccess::Bind,
        }],
        ..Landlock::default()
    };
    run(&config)?;
    Ok(())
}

fn nothing() -> Outcome {
    let mut config = shell("nothing", "echo never");
    walls(&mut config).no_new_privileges = true;
    walls(&mut config).landlock.enabled = true;
    if let Err(error) = run(&config) {
        println!("{error}");
    }
    Ok(())
}
