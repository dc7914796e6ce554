//! The boxes that are measured.

use std::path::Path;

use sandbox::config::{
    BindMount, BindSource, Identity, Interface, Lifecycle, Limits, MountAction, Namespaces,
    Network, Port, PrivateNetwork, Process, Protocol, Root, UserNamespace, Walls,
};
use sandbox::{Config, Host};

use crate::Result;

/// Of the host; the second box has the next.
pub(crate) const FIRST_PORT: u16 = 20_000;

/// The config of a kind that starts `program` with `arguments`.
pub(crate) fn config(
    kind: &str,
    host: &Host,
    root: &Path,
    program: &Path,
    arguments: &[&str],
) -> Result<Config> {
    let walls = match kind {
        "bare" => None,
        // What `boxed = true` means.
        "default" => Some(Walls::default_box()),
        "strict" => Some(Walls::strict_box()),
        // The same file system and namespaces as the floor's, and nothing else.
        "five" => Some(like_floor(root, false)),
        "five-pid1" => Some(Walls {
            as_pid_1: true,
            ..like_floor(root, false)
        }),
        "five+net" => Some(like_floor(root, true)),
        // A place on the bridge "bench" instead of nothing but loopback.
        "five+bridge" | "five+port" => Some(Walls {
            network: Network::Private(Box::new(PrivateNetwork {
                id: "0".to_owned(),
                name: "bench".to_owned(),
                interfaces: vec![Interface::on("bench")],
                ports: if kind == "five+port" {
                    vec![Port {
                        address: None,
                        host: FIRST_PORT,
                        inside: 80,
                        count: 1,
                        protocol: Protocol::Tcp,
                    }]
                } else {
                    Vec::new()
                },
                ..PrivateNetwork::default()
            })),
            ..like_floor(root, true)
        }),
        "seven" => Some(Walls {
            user_namespace: Some(UserNamespace::default()),
            ..like_floor(root, true)
        }),
        other => return Err(format!("no such kind: {other}").into()),
    };
    let inside = match (&walls, program.strip_prefix(root)) {
        (Some(walls), Ok(inside)) if !walls.root.is_host() => Path::new("/").join(inside),
        _ => program.to_owned(),
    };
    let argv = std::iter::once(inside.into_os_string())
        .chain(arguments.iter().map(Into::into))
        .collect();
    let limits = Limits::default();
    let config = Config {
        name: "bench".to_owned(),
        process: Process {
            argv,
            environment: vec![("PATH".into(), "/bin:/usr/bin".into())],
            new_session: true,
            ..Process::default()
        },
        identity: Identity::default(),
        directories: Vec::new(),
        limits,
        cgroup: None,
        walls,
        lifecycle: Lifecycle::default(),
    };
    // Told now, not at the thousandth launch.
    sandbox::compile(&config, host)?;
    Ok(config)
}

fn like_floor(root: &Path, net: bool) -> Walls {
    let bind = BindMount {
        source: BindSource::Path(root.to_owned()),
        target: "/".into(),
        read_only: true,
        devices: false,
        optional: false,
        recursive: true,
        id_map: None,
    };
    let tmpfs = MountAction::Tmpfs {
        target: "/tmp".into(),
        mode: 0o1777,
        size: None,
    };
    let (proc, dev) = ("/proc".into(), "/dev".into());
    Walls {
        namespaces: Namespaces {
            mount: true,
            pid: true,
            ipc: true,
            uts: true,
            cgroup: true,
            net,
            ..Namespaces::default()
        },
        root: Root::Empty,
        mounts: vec![
            MountAction::Bind(bind),
            MountAction::Proc { target: proc },
            MountAction::Devices { target: dev },
            tmpfs,
        ],
        no_new_privileges: true,
        network: if net {
            Network::Loopback
        } else {
            Network::Host
        },
        ..Walls::bare()
    }
}
