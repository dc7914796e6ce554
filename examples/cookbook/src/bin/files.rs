//! The file system of a box, action by action: patterns 11 to 20.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]

use std::fs;
use std::path::{Path, PathBuf};

use cookbook::{Outcome, run, shell, show, walls};
use sandbox::config::{Config, Data, MountAction, Root, Upper};

fn main() -> Outcome {
    sandbox::executor_entry();
    show(&[
        ("11 a bind", bind),
        ("12 a read-only bind", read_only_bind),
        ("13 a tmpfs", tmpfs),
        ("14 an overlay whose changes are kept", overlay),
        ("15 an overlay whose changes go", temporary_overlay),
        ("16 a file from memory", data),
        ("17 the same, read-only", read_only_data),
        ("18 a file of the box", file),
        ("19 a link", link),
        ("20 a mode", mode),
    ])
}

/// A shell in a root that has the host's programs, read-only, and what the pattern puts there.
fn filled(name: &str, script: &str, actions: impl IntoIterator<Item = MountAction>) -> Config {
    let programs = [
        MountAction::ro_bind("/usr", "/usr"),
        MountAction::symlink("usr/bin", "/bin"),
        MountAction::symlink("usr/lib", "/lib"),
        MountAction::symlink("usr/lib64", "/lib64"),
    ];
    let mut config = shell(name, script);
    walls(&mut config).root = Root::Empty;
    walls(&mut config).mounts = programs.into_iter().chain(actions).collect();
    config
}

/// A directory of the host that is gone at the end of the pattern.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("cookbook-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn directory(&self, name: &str) -> std::io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            println!("{}: {error}", self.0.display());
        }
    }
}

fn bind() -> Outcome {
    let scratch = Scratch::new("s11")?;
    let script = "echo written inside >/mnt/here/file";
    run(&filled(
        "s11",
        script,
        [MountAction::bind(&scratch.0, "/mnt/here")],
    ))?;
    print!("{}", fs::read_to_string(scratch.0.join("file"))?);
    Ok(())
}

fn read_only_bind() -> Outcome {
    let script = "test -e /mnt/etc/passwd && echo there; touch /mnt/etc/x 2>&1";
    run(&filled(
        "s12",
        script,
        [MountAction::ro_bind("/etc", "/mnt/etc")],
    ))?;
    Ok(())
}

fn tmpfs() -> Outcome {
    let script = "stat -c %a /tmp; head -c 2M /dev/zero 2>&1 >/tmp/much | cut -d: -f3";
    let mut config = filled("s13", script, []);
    let wanted = MountAction::Tmpfs {
        target: "/tmp".into(),
        mode: 0o1777,
        size: Some(1 << 20),
    };
    let devices = MountAction::Devices {
        target: "/dev".into(),
    };
    walls(&mut config).mounts.extend([wanted, devices]);
    run(&config)?;
    Ok(())
}

/// Two layers below, the second on top.
fn layers(scratch: &Scratch) -> std::io::Result<Vec<PathBuf>> {
    let lower = [scratch.directory("lower")?, scratch.directory("upper")?];
    fs::write(lower[0].join("file"), "lower\n")?;
    fs::write(lower[0].join("base"), "base\n")?;
    fs::write(lower[1].join("file"), "upper\n")?;
    Ok(lower.to_vec())
}

const CHANGES: &str = "cd /merged; cat base file; echo new >file; rm base; ls; cat file";

fn overlay() -> Outcome {
    let scratch = Scratch::new("s14")?;
    let (upper, work) = (scratch.directory("changes")?, scratch.directory("work")?);
    let action = MountAction::Overlay {
        lower: layers(&scratch)?,
        upper: Upper::Persistent {
            upper: upper.clone(),
            work,
        },
        target: "/merged".into(),
    };
    run(&filled("s14", CHANGES, [action]))?;
    println!("kept: {}", fs::read_to_string(upper.join("file"))?.trim());
    Ok(())
}

fn temporary_overlay() -> Outcome {
    let scratch = Scratch::new("s15")?;
    let lower = layers(&scratch)?;
    let action = MountAction::Overlay {
        lower: lower.clone(),
        upper: Upper::Temporary,
        target: "/merged".into(),
    };
    run(&filled("s15", CHANGES, [action]))?;
    println!(
        "below: {}",
        fs::read_to_string(lower[1].join("file"))?.trim()
    );
    Ok(())
}

fn from_memory(target: impl AsRef<Path>, read_only: bool) -> MountAction {
    MountAction::BindData {
        target: target.as_ref().to_owned(),
        mode: 0o644,
        data: Data::Bytes(b"abc\n".to_vec()),
        read_only,
    }
}

fn data() -> Outcome {
    let script = "cat /tmp/file; echo more >>/tmp/file; cat /tmp/file";
    run(&filled("s16", script, [from_memory("/tmp/file", false)]))?;
    Ok(())
}

fn read_only_data() -> Outcome {
    let script = "cat /tmp/file; (echo more >>/tmp/file) 2>&1 | cut -d: -f3-";
    run(&filled("s17", script, [from_memory("/tmp/file", true)]))?;
    Ok(())
}

fn file() -> Outcome {
    let action = MountAction::File {
        path: "/tmp/hello.txt".into(),
        mode: 0o640,
        data: Data::Bytes(b"hello\n".to_vec()),
    };
    run(&filled(
        "s18",
        "stat -c %a /tmp/hello.txt; cat /tmp/hello.txt",
        [action],
    ))?;
    Ok(())
}

fn link() -> Outcome {
    let script = "readlink /tmp/sh; /tmp/sh -c 'echo it runs'";
    run(&filled(
        "s19",
        script,
        [MountAction::symlink("/bin/sh", "/tmp/sh")],
    ))?;
    Ok(())
}

fn mode() -> Outcome {
    let actions = [
        MountAction::Directory {
            path: "/tmp/x".into(),
            mode: 0o755,
        },
        MountAction::Chmod {
            path: "/tmp/x".into(),
            mode: 0o700,
        },
    ];
    run(&filled("s20", "stat -c %a /tmp/x", actions))?;
    Ok(())
}
