//! The value grammars of the language, one file each.
pub mod address_family;
pub mod capability;
pub mod cpu_list;
pub mod device;
pub mod duration;
pub mod environment;
pub mod environment_file;
pub mod errno;
pub mod exit_set;
pub mod percent;
pub mod size;
pub mod slice;
pub mod specifier;
pub mod system_call;
pub mod variables;
pub mod words;
