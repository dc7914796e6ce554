//! A service that stands still: the clocks that expect it to do something stand still with it.
#![forbid(unsafe_code)]

use super::service::{Service, Step};
use super::state::{HealthCheck, State};

impl Service {
    /// The service's group was frozen, or thawed. Its watchdog and its health checks begin anew
    /// after the thaw; `runtime_max` and the deadlines of stops and reloads count on.
    pub(super) fn frozen(&mut self, step: &mut Step<'_>, frozen: bool) {
        if !self.state.is_active() {
            return;
        }
        self.cancel_probe(step);
        let now = step.now;
        let interval = self
            .unit
            .health
            .as_ref()
            .map(|health| health.check.interval);
        let (State::Active(active) | State::Reloading { active, .. }) = &mut self.state else {
            return;
        };
        active.is_frozen = frozen;
        if let Some(watchdog) = &mut active.watchdog {
            watchdog.due = now + watchdog.every;
        }
        if let (Some(health), Some(interval)) = (&mut active.health, interval) {
            health.next = HealthCheck::At(now + interval);
        }
    }
}
