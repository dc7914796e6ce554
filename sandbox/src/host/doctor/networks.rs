//! Networks of boxes, made where nobody sees them.

use std::io;

use super::{Finding, Look, Need, Subject};
use crate::host::Host;
use crate::network::tried;

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let look = |name| Look::new(Subject::Networks, Need::Key, name);
    if !host.is_root {
        let bridge = look("bridge");
        return vec![bridge.found(
            super::State::Refused,
            "interfaces that lead outside take root",
            "a service of root's herd, or network.mode = \"host\"",
        )];
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
    looks
        .into_iter()
        .map(|(look, result, detail, advice)| look.tried(result, detail, advice))
        .collect()
}
