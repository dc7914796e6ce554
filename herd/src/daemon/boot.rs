//! How all units first came up, for `herd blame` and `herd plot`.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Daemon;
use super::report::{kind_of, state_of};
use crate::control::protocol::{BootReply, BootUnit};
use crate::supervisor::arrival::{self, Arrival};
use crate::supervisor::{Service, Time};

impl Daemon {
    pub(super) fn boot(&self) -> BootReply {
        let mut arrivals: Vec<(Arrival, &Service)> = self
            .supervisor
            .services()
            .filter_map(|service| Some((service.arrival()?, service)))
            .collect();
        arrivals.sort_by(|(a, one), (b, other)| {
            let names = || one.unit().name.cmp(&other.unit().name);
            a.begun.cmp(&b.begun).then_with(names)
        });
        let finished = arrival::finished(arrivals.iter().map(|(arrival, _)| *arrival));
        BootReply {
            kernel_usec: self
                .options
                .mode
                .is_machine()
                .then(|| micros(self.began.since(Time::ZERO))),
            finished_usec: finished.map(|at| micros(at.since(self.began))),
            units: arrivals
                .into_iter()
                .map(|(arrival, service)| self.boot_unit(arrival, service))
                .collect(),
        }
    }

    fn boot_unit(&self, arrival: Arrival, service: &Service) -> BootUnit {
        let unit = service.unit();
        let mut after: Vec<String> = self
            .supervisor
            .predecessors(service.id())
            .map(ToString::to_string)
            .collect();
        after.sort();
        BootUnit {
            name: unit.name.to_string(),
            kind: kind_of(unit.kind),
            state: state_of(service.state()),
            substate: self.substate(service.id(), service.state()),
            begun_usec: micros(arrival.begun.since(self.began)),
            after,
            took_usec: arrival.took().map(micros),
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
