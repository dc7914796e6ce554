//! Networks of boxes, made where nobody sees them.

use std::fs::File;
use std::io;

use super::{Finding, Look, Need, State, Subject};
use crate::host::Host;
use crate::network::user_mode::ADVICE;
use crate::network::{UserModeKind, UserModeProgram, refusals_to_forward, tried};

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let look = |name| Look::new(Subject::Networks, Need::Key, name);
    if !host.is_root {
        return vec![without_root(look("bridge"), host)];
    }
    let trial = match tried() {
        Ok(trial) => trial,
        Err(error) => {
            let advice = "boxes have the host's network alone";
            return vec![look("bridge").tried(Err(error), "", advice)];
        }
    };
    let looks: [(Look, io::Result<()>, &str, &str); 5] = [
        (
            look("bridge"),
            trial.bridge,
            "made",
            "load the module: modprobe bridge",
        ),
        (
            look("veth"),
            trial.pair,
            "a pair was made, one end on a bridge",
            "load the module: modprobe veth",
        ),
        (
            look("nf_tables"),
            trial.firewall,
            "the rules of a box were taken",
            "load the modules: modprobe nf_tables nft_nat nft_masq nft_fib_inet nft_reject_inet nft_limit",
        ),
        (
            look("rates"),
            trial.queue,
            "a queue was set",
            "load the module: modprobe sch_tbf",
        ),
        (
            look("macvlan"),
            trial.on_the_wire,
            "made",
            "load the module: modprobe macvlan",
        ),
    ];
    let tried = looks
        .into_iter()
        .map(|(look, result, detail, advice)| look.tried(result, detail, advice));
    tried.chain([forwarded(look("forwarding"))]).collect()
}

/// Every table has to let a packet through.
fn forwarded(look: Look) -> Finding {
    let refusals = refusals_to_forward();
    if refusals.is_empty() {
        return look.ok("no table of another program refuses it");
    }
    let advice = "let herd's bridges through there: The way of a packet, in herd.unit(5)";
    let detail = format!("refused by {}", refusals.join(", "));
    look.found(State::Refused, detail, advice)
}

/// A program leads a user's box outside, by a device that everybody may open.
fn without_root(look: Look, host: &Host) -> Finding {
    let Some(UserModeProgram { kind, path }) = &host.user_mode else {
        return look.missing("neither pasta nor slirp4netns is installed", ADVICE);
    };
    if let Err(error) = File::options().read(true).write(true).open(TUN) {
        let advice = "as root: modprobe tun; chmod 666 /dev/net/tun";
        return look.found(State::Refused, format!("{TUN}: {error}"), advice);
    }
    let path = path.display();
    match kind {
        UserModeKind::Pasta => look.ok(format!("by {path}")),
        UserModeKind::Slirp4netns => look.ok(format!(
            "by {path}: IPv4, without ports; for those {ADVICE}"
        )),
    }
}

const TUN: &str = "/dev/net/tun";
