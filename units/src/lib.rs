//! The unit language of herd.
pub mod name;
pub mod signal;
pub mod unit;
pub use name::{NameError, UnitName};
pub use signal::Signal;
pub use unit::Unit;
