//! Everything unsafe of the workspace: system calls behind safe, typed functions, without policy.
pub(crate) mod probe_clone;
