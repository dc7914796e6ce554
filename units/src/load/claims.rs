//! What only one unit at a time can have of the networks: ports of the host, addresses, hardware addresses.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use sandbox::config::{Link, MacAddress, Port};

use super::Loader;
use super::resolve::place_of;
use crate::diagnostic::{Diagnostic, Severity};
use crate::unit::Unit;

/// Something that a unit asks for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    Port(Port),
    /// On a network, or on the wire of an interface of the host.
    Address(Place, IpAddr),
    Hardware(Place, MacAddress),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place(Link);

impl Place {
    /// The name alone tells networks apart, and macvlan and ipvlan are on the same wire.
    fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Link::Bridge(one), Link::Bridge(two)) => one.name == two.name,
            (Link::MacVlan(one) | Link::IpVlan(one), Link::MacVlan(two) | Link::IpVlan(two)) => {
                one == two
            }
            (Link::Bridge(_), Link::MacVlan(_) | Link::IpVlan(_))
            | (Link::MacVlan(_) | Link::IpVlan(_), Link::Bridge(_)) => false,
        }
    }

    fn words(&self) -> String {
        match &self.0 {
            Link::Bridge(network) => format!("network {}", network.name),
            Link::MacVlan(parent) | Link::IpVlan(parent) => format!("the wire of {parent}"),
        }
    }
}

impl Claim {
    fn all(unit: &Unit) -> Vec<Self> {
        let walls = unit.walls.as_ref();
        let Some(network) = walls.and_then(|walls| walls.network.as_private()) else {
            return Vec::new();
        };
        let mut all: Vec<Self> = network.ports.iter().copied().map(Self::Port).collect();
        for interface in &network.interfaces {
            let place = || Place(interface.link.clone());
            let four = interface.address.map(IpAddr::V4);
            let six = interface.address6.map(IpAddr::V6);
            let addresses = four.into_iter().chain(six);
            all.extend(addresses.map(|address| Self::Address(place(), address)));
            all.extend(interface.mac.map(|mac| Self::Hardware(place(), mac)));
        }
        all
    }

    fn key(&self) -> &'static str {
        match self {
            Self::Port(_) => "network.ports",
            Self::Address(_, IpAddr::V4(_)) => "network.address",
            Self::Address(_, IpAddr::V6(_)) => "network.address6",
            Self::Hardware(..) => "network.mac",
        }
    }

    /// What both want.
    fn shared_with(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Port(one), Self::Port(two)) => {
                let number = one.clash(two)?;
                Some(format!("publishes port {number}/{} too", one.protocol))
            }
            (Self::Address(one, address), Self::Address(two, other))
                if one.is(two) && address == other =>
            {
                Some(format!("has address {address} on {} too", one.words()))
            }
            (Self::Hardware(one, mac), Self::Hardware(two, other))
                if one.is(two) && mac == other =>
            {
                Some(format!("has hardware address {mac} on {} too", one.words()))
            }
            _ => None,
        }
    }
}

impl Loader<'_> {
    /// Two units that want the same cannot both run; where they exclude each other, nobody expects them to.
    pub(super) fn warn_of_claims(&mut self) {
        let units = self.loaded.units.values().cloned();
        let claims: Vec<_> = units
            .map(|unit| (Claim::all(&unit), unit))
            .filter(|(claims, _)| !claims.is_empty())
            .collect();
        let excludes = |one: &Unit, two: &Unit| one.dependencies.conflicts.contains(&two.name);
        for (index, (mine, unit)) in claims.iter().enumerate() {
            for (theirs, other) in claims.get(..index).unwrap_or_default() {
                if excludes(unit, other) || excludes(other, unit) {
                    continue;
                }
                for claim in mine {
                    let shared = |their: &Claim| Some((claim.shared_with(their)?, their.clone()));
                    if let Some((what, their)) = theirs.iter().find_map(shared) {
                        let report = self.both(unit, claim, other, &their, &what);
                        self.loaded.diagnostics.push(report);
                    }
                }
            }
        }
    }

    fn both(
        &self,
        unit: &Unit,
        claim: &Claim,
        other: &Unit,
        their: &Claim,
        what: &str,
    ) -> Diagnostic {
        let mut report = self.place_of_claim(unit, claim);
        let there = self.place_of_claim(other, their);
        let line = there.line_and_column();
        let line = line.map_or_else(String::new, |(line, _)| format!(":{line}"));
        report.severity = Severity::Warning;
        report.message = format!("{} {what}", other.name);
        let hint = format!(
            "it does at {}{line}; only one of them can run: choose another, or say `conflicts = [\"{}\"]`",
            there.source.path.display(),
            other.name
        );
        report.hint = Some(hint);
        report
    }

    fn place_of_claim(&self, unit: &Unit, claim: &Claim) -> Diagnostic {
        let sources = self.sources.get(&unit.name).map_or(&[][..], Vec::as_slice);
        let is_meant = |text: &str| match claim {
            Claim::Port(port) => text.parse() == Ok(*port),
            Claim::Address(..) | Claim::Hardware(..) => true,
        };
        place_of(sources, claim.key(), is_meant)
            .unwrap_or_else(|| Diagnostic::of_file(&unit.source.path, ""))
    }
}
