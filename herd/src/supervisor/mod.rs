//! Decides. No I/O, no clock: `(state, event, now) → (state, actions)`.
//!
//! [`service`] is one service as a total machine; [`set`] is all of them, with the dependency
//! graph and the jobs that wait for their turn. The daemon carries out the [`action`]s and reports
//! what comes of them as [`event`]s.
pub mod action;
mod activation;
pub mod arrival;
mod deactivation;
mod define;
mod elsewhere;
pub mod ending;
pub mod event;
pub mod explain;
mod freeze;
pub mod policy;
mod relations;
pub mod service;
pub mod set;
pub mod state;
mod tickets;
pub mod time;
mod waits;

pub use action::Action;
pub use arrival::Arrival;
pub use ending::EndPolicy;
pub use event::{Event, Input, Pid, RunId, ServiceId, Ticket};
pub use service::Service;
pub use set::Supervisor;
pub use state::State;
pub use time::Time;

#[cfg(test)]
mod tests;
