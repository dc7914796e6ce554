//! Everything at once: a program nobody trusts gets an input file, an output directory, and nothing else.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]

use std::fs;

use cookbook::Outcome;
use sandbox::Files;
use sandbox::config::{Amount, Config, Data, Directory, Identity, MountAction, Root, Walls};
use sandbox::session::{Event, Options, launch};

/// `nobody`.
const NOBODY: u32 = 65534;

fn main() -> Outcome {
    sandbox::executor_entry();
    let output = std::env::temp_dir().join(format!("cookbook-showcase-{}", std::process::id()));
    let script = "tr a-z A-Z </input/text >/output/text; id -u; ls /; \
                  ls /proc | grep -c '^[0-9]'; ls /home 2>&1; \
                  grep CapEff /proc/self/status | tr -d '\t'";
    let mut config = Config::boxed("showcase", ["/bin/sh", "-c", script]);
    config.identity = Identity {
        uid: Some(NOBODY),
        gid: Some(NOBODY),
        groups: None,
    };
    config.directories = vec![Directory {
        path: output.clone(),
        mode: 0o700,
        writable: true,
        whole: false,
    }];
    config.limits.cgroup.memory = Some(Amount::Exactly(64 << 20));
    config.limits.cgroup.tasks = Some(Amount::Exactly(16));
    let mut walls = Walls::strict_box();
    walls.root = Root::Empty;
    walls.mounts = vec![
        MountAction::ro_bind("/usr", "/usr"),
        MountAction::symlink("usr/bin", "/bin"),
        MountAction::symlink("usr/lib", "/lib"),
        MountAction::symlink("usr/lib64", "/lib64"),
        MountAction::BindData {
            target: "/input/text".into(),
            mode: 0o444,
            data: Data::Bytes(b"text from outside\n".to_vec()),
            read_only: true,
        },
        MountAction::bind(&output, "/output"),
    ];
    config.walls = Some(walls);
    let options = Options::new().on_event(|told| {
        if let Event::Exited { code, .. } = told.event {
            println!("exited with {code:?}");
        }
        Ok(())
    });
    launch(&config, Files::of_caller(), options)?;
    print!("{}", fs::read_to_string(output.join("text"))?);
    fs::remove_dir_all(&output)?;
    Ok(())
}
