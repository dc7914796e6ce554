//! herd as the first process of a machine: user-mode Linux or, where that cannot show it, Debian's own kernel
//! under qemu's emulation; a disk of Debian packages made by `examples/machine/make-image`, pure cgroup v2.
//!
//! What the machine says is read from its console, line by line. `HERD_MACHINE_ROUNDS` makes the tests that
//! try something at random moments try it more often (`tests/dev vm-long`).

mod boot;
mod crash;
mod dhcp;
mod elsewhere;
mod emergency;
mod fixture;
mod fstab;
mod goals;
mod hangs;
mod harm;
mod login;
mod power;
mod qemu;
mod settings;
