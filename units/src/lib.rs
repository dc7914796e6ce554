//! The unit language of herd: from TOML files to checked [`Unit`]s and the order among them.
//!
//! *A unit* is one TOML file with its drop-ins. [`parse_unit`] turns the text into a [`Unit`] or
//! into [`Diagnostic`]s, all of a file at once; [`mod@load`] alone reads files; [`graph`] orders units
//! and finds cycles; [`mod@diff`] tells what a change of the set means. [`keys`] is the one table of
//! what can be written.
mod check;
pub mod diagnostic;
pub mod diff;
mod document;
pub mod graph;
pub mod keys;
pub mod load;
pub mod name;
pub mod network;
pub mod power;
mod read;
mod reader;
pub mod signal;
pub mod unit;
pub mod value;

pub use diagnostic::{Diagnostic, Severity, SourceText};
pub use diff::{Diff, diff};
pub use graph::Graph;
pub use load::{Loaded, SearchPath, host_facts, load, load_one, templates};
pub use name::{NameError, UnitName};
pub use power::{Haste, Power};
pub use read::{Parsed, parse_unit};
pub use signal::Signal;
pub use unit::Unit;
pub use value::environment_file::{EnvironmentText, parse_environment_file};
pub use value::specifier::{Facts, Specifiers};
pub use value::variables::expand_variables;
