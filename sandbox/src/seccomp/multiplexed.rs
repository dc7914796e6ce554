//! `socketcall(2)` and `ipc(2)`: one number of a 32-bit ABI for many calls. A list that refuses one of
//! them by name refuses it behind this door, too.
#![forbid(unsafe_code)]

use super::answer::lets_through;
use super::bpf::{Branch, Node, Test, Tree, Word};

/// The calls behind a door: number in the first argument, and name.
type Behind = &'static [(u32, &'static str)];

/// `SYS_*` of `linux/net.h`.
#[rustfmt::skip]
const SOCKETCALL: Behind = &[
    (1, "socket"), (2, "bind"), (3, "connect"), (4, "listen"), (5, "accept"), (6, "getsockname"),
    (7, "getpeername"), (8, "socketpair"), (9, "send"), (10, "recv"), (11, "sendto"),
    (12, "recvfrom"), (13, "shutdown"), (14, "setsockopt"), (15, "getsockopt"), (16, "sendmsg"),
    (17, "recvmsg"), (18, "accept4"), (19, "recvmmsg"), (20, "sendmmsg"),
];

/// `linux/ipc.h`; the high half of the argument is a version.
#[rustfmt::skip]
const IPC: Behind = &[
    (1, "semop"), (2, "semget"), (3, "semctl"), (4, "semtimedop"), (11, "msgsnd"), (12, "msgrcv"),
    (13, "msgget"), (14, "msgctl"), (21, "shmat"), (22, "shmdt"), (23, "shmget"), (24, "shmctl"),
];

pub(super) const DOORS: [(&str, u32, Behind); 2] =
    [("socketcall", u32::MAX, SOCKETCALL), ("ipc", 0xffff, IPC)];

/// `door` as it is, but with what `verdict` has against single calls behind it.
pub(super) fn guarded(
    tree: &mut Tree,
    door: Node,
    (mask, behind): (u32, Behind),
    verdict: impl Fn(&str) -> Option<u32>,
) -> Node {
    let Node::Return(answer) = door else {
        return door;
    };
    if !lets_through(answer) {
        return door;
    }
    let mut node = door;
    for (number, name) in behind.iter().rev() {
        let Some(own) = verdict(name).filter(|own| *own != answer) else {
            continue;
        };
        node = tree.branch(Branch {
            word: Word::ArgumentLow(0),
            mask,
            test: Test::Equal(*number),
            yes: Node::Return(own),
            no: node,
        });
    }
    node
}
