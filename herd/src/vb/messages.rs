//! The engine's failures in bubblewrap's words.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use sandbox::config::NamespaceKind;
use sandbox::{About, LaunchError, MountFailure, MountOperation, StepFailure};

use super::arguments::Arguments;
use super::config::{Wanted, in_box};
use super::errno;
use super::operation::{Layers, Operation};

/// A program that the kernel does not take.
pub const NO_FILTER: &str = "Unable to set up system call filtering as requested: \
                             prctl(PR_SET_SECCOMP) reported EINVAL. (Hint: this requires a kernel \
                             configured with CONFIG_SECCOMP and CONFIG_SECCOMP_FILTER.)";

/// The sentence for a step that failed.
pub fn sentence(failure: &StepFailure, arguments: &Arguments, wanted: &Wanted) -> OsString {
    let reason = errno::text(failure.errno);
    match &failure.about {
        About::Mount => match &failure.mount {
            Some(mount) => of_mount(mount, failure.errno, arguments, wanted),
            None => failure.to_string().into(),
        },
        About::Command => match arguments.command.first() {
            Some(command) => words(&["execvp ".as_ref(), command, ": ".as_ref(), reason.as_ref()]),
            None => reason.into(),
        },
        About::WorkingDirectory(path) => words(&[
            "Can't chdir to ".as_ref(),
            path,
            ": ".as_ref(),
            reason.as_ref(),
        ]),
        About::Hostname(name) => words(&[
            "Can't set hostname to ".as_ref(),
            name,
            ": ".as_ref(),
            reason.as_ref(),
        ]),
        About::Lock(path) if failure.errno == libc::EAGAIN => {
            about_path("Unable to lock file ", path, &reason)
        }
        About::Lock(path) => about_path("Unable to open lock file ", path, &reason),
        About::FurtherUserNamespaces => {
            "creation of new user namespaces was not disabled as requested".into()
        }
        About::Join(NamespaceKind::User) if failure.errno == libc::EINVAL => {
            "Joining the specified user namespace failed, it might not be a descendant of the \
             current user namespace."
                .into()
        }
        About::Join(NamespaceKind::User) => {
            format!("Joining specified user namespace failed: {reason}").into()
        }
        About::Join(NamespaceKind::Pid) => format!("Setting pidns failed: {reason}").into(),
        About::SecondUserNamespace => format!("Setting userns2 failed: {reason}").into(),
        About::User(uid) => format!("unable to switch to uid {uid}: {reason}").into(),
        About::Group(gid) => format!("unable to switch to gid {gid}: {reason}").into(),
        About::Loopback => format!("loopback: {reason}").into(),
        About::Maps => format!("setting up uid map: {reason}").into(),
        About::Filter if failure.errno == libc::EINVAL => NO_FILTER.into(),
        About::Filter => format!("prctl(PR_SET_SECCOMP): {reason}").into(),
        About::Rule(path) => about_path("Can't find path of Landlock rule ", path, &reason),
        About::Join(_) | About::Other => failure.to_string().into(),
    }
}

fn about_path(text: &str, path: &OsStr, reason: &str) -> OsString {
    words(&[text.as_ref(), path, ": ".as_ref(), reason.as_ref()])
}

/// The sentence for a box that somebody killed.
pub fn killed(signal: i32) -> String {
    let name = match Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    };
    format!("killed by {name} before the command was executed")
}

/// The sentence for a launch that did not begin.
pub fn launch_sentence(error: &LaunchError, makes_user_namespace: bool) -> OsString {
    let LaunchError::Clone(cause) = error else {
        return chain(error).into();
    };
    namespace_sentence(
        cause.raw_os_error().unwrap_or(libc::EIO),
        makes_user_namespace,
    )
    .into()
}

fn namespace_sentence(errno: i32, makes_user_namespace: bool) -> String {
    match errno {
        libc::EINVAL if makes_user_namespace => {
            "Creating new namespace failed, likely because the kernel does not support user \
             namespaces.  bwrap must be installed setuid on such systems."
                .to_owned()
        }
        libc::EPERM if makes_user_namespace => {
            "No permissions to create a new namespace, likely because the kernel does not allow \
             non-privileged user namespaces. On e.g. debian this can be enabled with 'sysctl \
             kernel.unprivileged_userns_clone=1'."
                .to_owned()
        }
        libc::ENOSPC => "Creating new namespace failed: nesting depth or \
                         /proc/sys/user/max_*_namespaces exceeded (ENOSPC)"
            .to_owned(),
        errno => format!("Creating new namespace failed: {}", errno::text(errno)),
    }
}

/// An error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&match cause.downcast_ref::<io::Error>() {
            Some(error) => error
                .raw_os_error()
                .map_or_else(|| error.to_string(), errno::text),
            None => cause.to_string(),
        });
        source = cause.source();
    }
    text
}

fn words(parts: &[&OsStr]) -> OsString {
    parts.iter().fold(OsString::new(), |mut whole, part| {
        whole.push(part);
        whole
    })
}

fn of_mount(mount: &MountFailure, errno: i32, arguments: &Arguments, wanted: &Wanted) -> OsString {
    let reason = errno::text(errno);
    let path = mount.path.as_os_str();
    let given = given(path, arguments);
    let plain = |text: &str| words(&[text.as_ref(), &given, ": ".as_ref(), reason.as_ref()]);
    let new_root = new_root(&given);
    let of_kernel = |what: &str| {
        words(&[
            format!("Can't mount {what} on ").as_ref(),
            &new_root,
            ": ".as_ref(),
            errno::mount_text(errno).as_ref(),
        ])
    };
    match &mount.operation {
        MountOperation::Source
            if errno == libc::ENOTDIR
                && let Some(target) = overlay_of_file(path, arguments, wanted) =>
        {
            of_overlay(&target, libc::EINVAL, arguments, wanted)
        }
        MountOperation::Source => {
            let source = wanted.sources.iter().find(|(known, _)| known == path);
            let source = source.map_or(path, |(_, given)| given);
            about_path("Can't find source path ", source, &reason)
        }
        MountOperation::SourceChanged => {
            words(&["Race condition binding dirfd: ".as_ref(), reason.as_ref()])
        }
        MountOperation::Parents => plain("Can't mkdir parents for "),
        MountOperation::Directory => match target_below(path, wanted) {
            Some(target) => about_path("Can't mkdir parents for ", target, &reason),
            None => plain("Can't mkdir "),
        },
        MountOperation::File if is_file(path, arguments) => plain("Can't create file "),
        MountOperation::File => plain("Can't create file at "),
        MountOperation::Content => plain("Can't write data to file "),
        MountOperation::Symlink => plain("Can't make symlink at "),
        MountOperation::SymlinkReads(reads) => words(&[
            "Can't make symlink at ".as_ref(),
            &given,
            ": existing destination is ".as_ref(),
            reads,
        ]),
        MountOperation::SymlinkOccupied => words(&[
            "Can't make symlink at ".as_ref(),
            &given,
            ": destination exists and is not a symlink".as_ref(),
        ]),
        MountOperation::Mode(0) => plain("Can't chmod 0 "),
        MountOperation::Mode(mode) => plain(&format!("Can't chmod 0{mode:o} ")),
        MountOperation::Bind | MountOperation::IdMap => words(&[
            "Can't bind mount /oldroot".as_ref(),
            mount.source.as_deref().unwrap_or_default(),
            " on ".as_ref(),
            &new_root,
            ": Unable to mount source on destination: ".as_ref(),
            errno::mount_text(errno).as_ref(),
        ]),
        MountOperation::ReadOnly => words(&[
            "Can't remount readonly on ".as_ref(),
            &new_root,
            ": ".as_ref(),
            read_only(path, errno).as_ref(),
        ]),
        MountOperation::Device => plain("Can't create file "),
        MountOperation::Proc => of_kernel("proc"),
        MountOperation::Tmpfs => of_kernel("tmpfs"),
        MountOperation::Terminals => of_kernel("devpts"),
        MountOperation::MessageQueues => of_kernel("mqueue"),
        MountOperation::ControlGroups => of_kernel("cgroup2"),
        MountOperation::Overlay => of_overlay(path, errno, arguments, wanted),
    }
}

fn read_only(path: &OsStr, errno: i32) -> OsString {
    let path = Path::new(path);
    match errno {
        // Not the root of a mount.
        libc::EINVAL => words(&[
            "Unable to find \"/newroot".as_ref(),
            path.as_os_str(),
            "\" in mount table".as_ref(),
        ]),
        libc::ENOENT => format!("realpath(destination): {}", errno::text(errno)).into(),
        errno => words(&[
            "Unable to remount destination \"/newroot".as_ref(),
            path.as_os_str(),
            "\" with correct flags: ".as_ref(),
            errno::mount_text(errno).as_ref(),
        ]),
    }
}

fn of_overlay(path: &OsStr, errno: i32, arguments: &Arguments, wanted: &Wanted) -> OsString {
    let found = arguments.operations.iter().find_map(|operation| {
        if let Operation::Overlay {
            lower,
            upper,
            target,
        } = operation
            && in_box(target) == path
        {
            Some((lower, upper))
        } else {
            None
        }
    });
    let options = found.map(|(lower, upper)| overlay_options(lower, upper, arguments, wanted));
    let reason = if errno == libc::ELOOP {
        "Overlay directories may not overlap".to_owned()
    } else {
        errno::mount_text(errno)
    };
    words(&[
        "Can't make overlay mount on ".as_ref(),
        &new_root(&given(path, arguments)),
        " with options ".as_ref(),
        &options.unwrap_or_default(),
        ": ".as_ref(),
        reason.as_ref(),
    ])
}

/// Where the overlay was to be of which this is a layer, and no directory.
fn overlay_of_file(path: &OsStr, arguments: &Arguments, wanted: &Wanted) -> Option<OsString> {
    let (_, layer) = wanted.sources.iter().find(|(known, _)| known == path)?;
    if !std::fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
        return None;
    }
    arguments.operations.iter().find_map(|operation| {
        let Operation::Overlay {
            lower,
            upper,
            target,
        } = operation
        else {
            return None;
        };
        let is_above = match upper {
            Layers::Persistent { upper, work } => upper == layer || work == layer,
            Layers::Temporary | Layers::ReadOnly => false,
        };
        (is_above || lower.contains(layer)).then(|| in_box(target).into_os_string())
    })
}

/// As bubblewrap would have given them to the kernel.
fn overlay_options(
    lower: &[OsString],
    upper: &Layers,
    arguments: &Arguments,
    wanted: &Wanted,
) -> OsString {
    let real = |given: &OsStr| {
        let known = wanted.sources.iter().find(|(_, known)| known == given);
        let path = known.map_or_else(|| PathBuf::from(given), |(path, _)| path.clone());
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let mut escaped = OsString::from("/oldroot");
        for byte in path.as_os_str().as_bytes() {
            if matches!(byte, b'\\' | b',' | b':') {
                escaped.push("\\");
            }
            escaped.push(OsStr::from_bytes(&[*byte]));
        }
        escaped
    };
    let mut options = match upper {
        Layers::Persistent { upper, work } => words(&[
            "upperdir=".as_ref(),
            &real(upper),
            ",workdir=".as_ref(),
            &real(work),
            ",".as_ref(),
        ]),
        Layers::Temporary => {
            let temporary = arguments.operations.iter().filter_map(|operation| {
                if let Operation::Overlay {
                    lower,
                    upper: Layers::Temporary,
                    ..
                } = operation
                {
                    Some(lower)
                } else {
                    None
                }
            });
            let index = temporary.take_while(|other| *other != lower).count();
            format!("upperdir=/tmp-overlay-upper-{index},workdir=/tmp-overlay-work-{index},").into()
        }
        Layers::ReadOnly => OsString::new(),
    };
    options.push("lowerdir=");
    for (index, layer) in lower.iter().rev().enumerate() {
        if index > 0 {
            options.push(":");
        }
        options.push(real(layer));
    }
    options.push(",userxattr");
    options
}

/// Where bubblewrap has the box's tree while it is made.
fn new_root(given: &OsStr) -> OsString {
    let bytes = given.as_bytes();
    let start = bytes.iter().position(|byte| *byte != b'/');
    let rest = &bytes[start.unwrap_or(bytes.len())..];
    words(&["/newroot/".as_ref(), OsStr::from_bytes(rest)])
}

/// The target above which this directory was to be made.
fn target_below<'a>(path: &OsStr, wanted: &'a Wanted) -> Option<&'a OsStr> {
    let found = wanted.parents.iter().find(|(parent, _)| parent == path);
    found.map(|(_, target)| target.as_os_str())
}

fn is_file(path: &OsStr, arguments: &Arguments) -> bool {
    arguments.operations.iter().any(
        |operation| matches!(operation, Operation::File { path: of, .. } if in_box(of) == path),
    )
}

/// A path of the box as it was given.
fn given(path: &OsStr, arguments: &Arguments) -> OsString {
    let targets = arguments.operations.iter().filter_map(Operation::target);
    let found = targets.into_iter().find(|target| in_box(target) == path);
    found.unwrap_or(path).to_owned()
}
