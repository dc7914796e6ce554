//! Each kind of namespace, made by a child that then ends.

use std::io;

use super::{Finding, Look, Need, Subject};
use crate::host::trial::{flags, mount_proc, own_maps, set_hostname, settle};
use crate::host::{Host, UserNamespaces};
use crate::sys::probe_clone::{Prepared, in_new_namespaces};
use crate::sys::process;

/// What the default box takes stands with `Need::Box`.
const KINDS: [(&str, libc::c_int, Need); 7] = [
    ("user namespace", libc::CLONE_NEWUSER, Need::Key),
    ("mount namespace", libc::CLONE_NEWNS, Need::Box),
    ("pid namespace", libc::CLONE_NEWPID, Need::Box),
    ("ipc namespace", libc::CLONE_NEWIPC, Need::Box),
    ("uts namespace", libc::CLONE_NEWUTS, Need::Box),
    ("cgroup namespace", libc::CLONE_NEWCGROUP, Need::Box),
    ("network namespace", libc::CLONE_NEWNET, Need::Key),
];

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let advice = advice(host);
    let mut findings: Vec<Finding> = KINDS
        .iter()
        .map(|(name, kind, need)| {
            let need = match *kind {
                libc::CLONE_NEWUSER if !host.is_root => Need::Box,
                _ => *need,
            };
            let look = Look::new(Subject::Namespaces, need, name);
            let made = in_new_namespaces(with_user(host, &[*kind]), nothing, &Prepared::default());
            look.tried(made, "a child was started in one", &advice)
        })
        .collect();
    // clone(2) has its exit signal where the flag of this kind is; unshare(2) takes it.
    let look = Look::new(Subject::Namespaces, Need::Key, "time namespace");
    let made = in_new_namespaces(with_user(host, &[]), unshare_time, &Prepared::default());
    findings.push(look.tried(made, "made by a child", &advice));
    let look = Look::new(Subject::Namespaces, Need::Box, "all of them, filled");
    let all: Vec<libc::c_int> = KINDS
        .iter()
        .map(|(_, kind, _)| *kind)
        .filter(|kind| *kind != libc::CLONE_NEWUSER)
        .collect();
    let own = own_place(host);
    let made = in_new_namespaces(with_user(host, &all), settle, &own);
    findings.push(look.tried(made, "a child took its place in all at once", &advice));
    findings.push(proc_inside(host, &own));
    let look = Look::new(Subject::Namespaces, Need::Box, "a host name of its own");
    let kinds = with_user(host, &[libc::CLONE_NEWUTS]);
    let named = in_new_namespaces(kinds, set_hostname, &own);
    findings.push(look.tried(named, "set in a new uts namespace", FILTER));
    findings
}

const FILTER: &str = "a container's system call filter or a security module may forbid it";

fn advice(host: &Host) -> String {
    match &host.user_namespaces {
        UserNamespaces::Refused(forbidder) => format!(
            "{forbidder} forbids user namespaces. Root needs none; a user's unit can name what it does \
             without: best_effort = [\"namespaces\"]"
        ),
        UserNamespaces::Allowed => FILTER.to_owned(),
    }
}

/// Who is not root gets every other namespace through a user namespace of its own.
pub(super) fn with_user(host: &Host, kinds: &[libc::c_int]) -> libc::c_ulong {
    let user = if host.is_root {
        0
    } else {
        flags(&[libc::CLONE_NEWUSER])
    };
    flags(kinds) | user
}

pub(super) fn own_place(host: &Host) -> Prepared {
    if host.is_root {
        Prepared::default()
    } else {
        own_maps(host)
    }
}

fn nothing(_: &Prepared) -> io::Result<()> {
    Ok(())
}

fn unshare_time(_: &Prepared) -> io::Result<()> {
    const CLONE_NEWTIME: u64 = 0x80;
    Ok(process::unshare(CLONE_NEWTIME)?)
}

fn proc_inside(host: &Host, own: &Prepared) -> Finding {
    let look = Look::new(Subject::Namespaces, Need::Box, "a /proc of its own");
    let kinds = [libc::CLONE_NEWNS, libc::CLONE_NEWPID];
    let mounted = in_new_namespaces(with_user(host, &kinds), mount_proc, own);
    let advice = match &host.no_new_proc {
        Some(why) if !host.is_root => format!(
            "{why}: a container is to leave /proc whole (docker: --security-opt \
             systempaths=unconfined, podman: --security-opt unmask=ALL), or the unit does without: best_effort = [\"protect_proc\", \
             \"pid_namespace\"]"
        ),
        _ => String::new(),
    };
    look.tried(mounted, "mounted in a new pid namespace", &advice)
}
