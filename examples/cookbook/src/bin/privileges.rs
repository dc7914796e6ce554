//! What a box may do: patterns 24, 25, 33, and landlock's short form.
#![allow(clippy::print_stdout, reason = "examples talk to the terminal")]

use cookbook::{Outcome, run, shell, show, walls};
use sandbox::config::{Config, Identity};

/// Numbers of `capabilities(7)`.
const NET_BIND_SERVICE: u8 = 10;
const NET_RAW: u8 = 13;

fn main() -> Outcome {
    sandbox::executor_entry();
    show(&[
        ("24 a capability more", add),
        ("25 a capability less", less),
        ("33 what cannot be enforced cannot be asked for", labels),
        ("the default box has none at all", none),
    ])
}

const SHOW: &str = "grep -E 'Cap(Eff|Bnd|Amb)' /proc/self/status | tr -d '\\t'";

fn add() -> Outcome {
    let mut config = shell("s24", SHOW);
    // For another user than root a capability has to be ambient to outlive execve.
    config.identity = Identity {
        uid: Some(65534),
        gid: Some(65534),
        groups: None,
    };
    walls(&mut config).capability_bounding_set = vec![NET_BIND_SERVICE];
    walls(&mut config).ambient_capabilities = vec![NET_BIND_SERVICE];
    run(&config)?;
    Ok(())
}

fn less() -> Outcome {
    let mut config = shell(
        "s25",
        "grep CapBnd /proc/self/status >/dev/null; \
         [ $(( 0x$(sed -n 's/CapBnd:.//p' /proc/self/status) >> 13 & 1 )) = 0 ] && echo without net_raw",
    );
    walls(&mut config)
        .capability_bounding_set
        .retain(|number| *number != NET_RAW);
    run(&config)?;
    Ok(())
}

fn labels() -> Outcome {
    // Labels of a security module (`exec_label`, `file_label` of voidbox, which always refused them)
    // have no field in a config. Landlock is the layer of the kernel's own that anybody may use.
    println!("see the landlock example");
    Ok(())
}

fn none() -> Outcome {
    run(&Config::boxed("none", ["/bin/sh", "-c", SHOW]))?;
    Ok(())
}
