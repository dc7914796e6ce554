//! Boxes for programs: from a [`Config`](crate::Config) to a [`Session`], and from a session to how it ended.
//!
//! ```no_run
//! use sandbox::{Config, Files};
//! use sandbox::session::{Options, launch};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First of all: this program is its own executor (see below).
//!     sandbox::executor_entry();
//!     let config = Config::boxed("hello", ["/bin/echo", "in the box"]);
//!     let outcome = launch(&config, Files::of_caller(), Options::new())?;
//!     println!("{:?} with {}", outcome.reason, outcome.exit_code());
//!     Ok(())
//! }
//! ```
//!
//! # Who builds the box
//! A process with several threads cannot build a box in a copy of itself: locks that other threads
//! hold stay locked in the copy for ever. So the box is built by an **executor**, the calling program
//! started once more, which has to know what it was started for: its `main` calls
//! [`executor_entry`](crate::executor_entry) before anything else. [`Carriage::Auto`] then is:
//!
//! | `executor_entry` was called | threads | the box is built by |
//! |---|---|---|
//! | yes | any | the executor |
//! | no | one | a copy of the caller |
//! | no | more | nobody: [`SpawnError::NoExecutor`] |
//!
//! A config without walls and without a [lifecycle](crate::config::Lifecycle) needs neither.
//!
//! # What is told, and when
//! [`spawn`] comes back when the program of the box runs, or with the step that failed and the kernel's
//! reason. What happens on the way is an [`Event`] for [`Options::on_event`], and a line of JSON for
//! [`Options::events_to`], in this order:
//!
//! 1. [`Event::RuntimeInitWarnings`], if the machine cannot build a wall that the config can do without;
//! 2. [`Event::Spawned`], while the box is held: its namespaces exist, nothing else of it does;
//! 3. [`Event::SetupFinished`], when the program runs; or [`Event::Failed`], and nothing more;
//! 4. [`Event::Exited`], from [`Session::wait`].
//!
//! # What is left
//! Nothing: a session that is dropped ends its box. [`Session::detach`] is for a box that is to go on.

mod box_group;
mod box_network;
mod event;
mod forward;
mod instance;
mod job;
mod lock;
mod options;
mod outcome;
mod run;
mod shell;
mod validate;

pub use event::{AbortLaunch, Event, Told};
pub use forward::Forwarder;
pub use instance::InstanceId;
pub use lock::{HostLock, LockError};
pub use options::{Carriage, Options};
pub use outcome::{EndReason, RunError, RunOutcome, SpawnError, WaitError, exit_code};
pub use run::{Sandbox, Session, launch, spawn};
pub use shell::{ShellConfig, launch_shell};
pub use validate::{ValidationError, validate};
