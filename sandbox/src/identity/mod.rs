//! Who a process is: its user namespace, its users and groups, its capabilities.
//!
//! A box stands in the caller's user namespace, in one that it joins, or in one of its own. For the
//! last there are two ways to the maps, because the kernel lets a process write its own only where
//! they name nobody but itself (`user_namespaces(7)`, *Defining user and group ID mappings*):
//!
//! * **The caller alone**: the carrier enters the namespace and writes three short files. The process
//!   then *is* the wanted user; nothing changes users later. Supplementary groups are locked
//!   (`setgroups` = `deny` before `gid_map`, CVE-2014-8989).
//! * **Ranges**: the box's first process is born into the namespace and waits, while the carrier, which
//!   has stayed outside, writes the maps: itself as root, by `newuidmap(1)` and `newgidmap(1)`
//!   otherwise. Then it becomes user 0 of the namespace, or the wanted user where 0 has no place,
//!   because nobody without a place can make a file.
//!
//! Privileges go in this order: the bounding set while `CAP_SETPCAP` is there; groups, then group, then
//! user, each needing what the next gives up; then what is left of the capabilities, cut to what
//! the program is to have; ambient ones last, because they have to be permitted and inheritable.

pub(crate) mod apply;
pub(crate) mod hand_over;
pub(crate) mod join;
pub(crate) mod maps;
pub(crate) mod plan;

pub use maps::{MapError, check_ranges};
