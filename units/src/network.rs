//! Definitions of networks: what a file `NAME.toml` in the directory of networks says.
#![forbid(unsafe_code)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a TOML value of any type but the expected ones is told as a wrong type"
)]

use ipnet::{Ipv4Net, Ipv6Net};
use sandbox::config::{BridgeNetwork, NamespaceKind, Network};
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Severity, SourceText};
use crate::keys::nearest;
use crate::name::UnitName;
use crate::reader::{Item, Reader};
use crate::unit::Unit;
use crate::value::specifier::{Facts, Specifiers};

/// A network as its file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDefinition {
    pub description: Option<String>,
    pub network: BridgeNetwork,
}

/// A text that no network can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a network is 1 to 32 letters, digits, - _ and ., and begins with one of the first two"
)]
pub struct NetworkNameError;

/// Claims that a network can have this name.
///
/// # Errors
/// [`NetworkNameError`].
pub fn network_name(text: &str) -> Result<(), NetworkNameError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins = |c: char| c.is_ascii_alphanumeric();
    match text.len() <= 32 && text.starts_with(begins) && text.chars().all(fits) {
        true => Ok(()),
        false => Err(NetworkNameError),
    }
}

impl Unit {
    /// Claims that a box of the unit is in another network namespace than herd.
    pub fn has_network_namespace(&self) -> bool {
        let Some(walls) = &self.walls else {
            return false;
        };
        let joins = |kind| walls.join.iter().any(|join| join.kind == kind);
        walls.namespaces.net
            || walls.network != Network::Host
            || joins(NamespaceKind::Net)
            || self
                .entry
                .as_ref()
                .is_some_and(|entry| entry.network_of.is_some())
    }
}

const KEYS: [&str; 6] = [
    "description",
    "subnet",
    "subnet6",
    "ipv6",
    "internal",
    "mtu",
];

/// Reads the text of a definition.
///
/// # Errors
/// Every problem of it.
pub fn parse_network(
    name: &str,
    source: &SourceText,
    facts: &Facts,
) -> Result<NetworkDefinition, Vec<Diagnostic>> {
    let unit = network_name(name).ok().and(UnitName::new(name).ok());
    let Some(unit) = unit else {
        let problem = Diagnostic::of_file(&source.path, NetworkNameError.to_string());
        let hint = "the file's name, without .toml, is the network's name";
        return Err(vec![problem.with_hint(hint)]);
    };
    let files = std::slice::from_ref(source);
    let path = source.path.to_string_lossy();
    let mut reader = Reader {
        files,
        specifiers: Specifiers {
            name: &unit,
            file: &path,
            facts,
        },
        diagnostics: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let message = error.message().trim_end().to_owned();
        reader.report(Severity::Error, 0, span, message, None);
    }
    let mut definition = NetworkDefinition {
        description: None,
        network: BridgeNetwork::new(name),
    };
    let mut chose_six = false;
    for (key, value) in table.get_ref() {
        let item = Item { file: 0, value };
        let network = &mut definition.network;
        match key.get_ref().as_ref() {
            "description" => {
                definition.description = reader.raw_text(item).map(str::to_owned);
            }
            "subnet" => network.subnet = subnet(&mut reader, item),
            "subnet6" => network.subnet6 = subnet6(&mut reader, item),
            "ipv6" => {
                network.ipv6 = reader.boolean(item).unwrap_or(true);
                chose_six = true;
            }
            "internal" => network.internal = reader.boolean(item).unwrap_or_default(),
            "mtu" => network.mtu = reader.number(item, 1280..=65_535),
            other => {
                let hint = match nearest(other, KEYS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a network has {}", KEYS.join(", ")),
                };
                let message = format!("unknown key `{other}`");
                reader.report(Severity::Error, 0, key.span(), message, Some(hint));
            }
        }
    }
    let network = &definition.network;
    if chose_six
        && !network.ipv6
        && let Some(six) = table.get_ref().get("subnet6")
    {
        let item = Item {
            file: 0,
            value: six,
        };
        let message = "`subnet6` means nothing to a network without IPv6";
        reader.error_with_hint(item, message, "leave it out, or `ipv6 = false`");
    }
    match reader.diagnostics.is_empty() {
        true => Ok(definition),
        false => Err(reader.diagnostics),
    }
}

fn subnet(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Ipv4Net> {
    let text = reader.raw_text(item)?;
    match check_subnet(text) {
        Ok(subnet) => Some(subnet),
        Err(problem) => {
            reader.error_with_hint(item, problem.to_string(), SUBNET_HINT);
            None
        }
    }
}

fn subnet6(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Ipv6Net> {
    let text = match item.value() {
        DeValue::String(_) => reader.raw_text(item)?,
        _ => return reader.wrong_type(item, "a text"),
    };
    match check_subnet6(text) {
        Ok(subnet) => Some(subnet),
        Err(problem) => {
            reader.error_with_hint(item, problem.to_string(), SUBNET6_HINT);
            None
        }
    }
}

/// How a subnet is written.
pub const SUBNET_HINT: &str = "write \"10.20.0.0/24\"";
pub const SUBNET6_HINT: &str = "write \"fd00:1:2:3::/64\"";

/// A text that is no subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("{0:?} is no IPv4 subnet")]
    Four(String),
    #[error("{0:?} is no IPv6 subnet")]
    Six(String),
    #[error("{subnet} has bits behind its prefix: the subnet is {meant}")]
    Bits {
        subnet: ipnet::IpNet,
        meant: ipnet::IpNet,
    },
    #[error("{0}: a network has a prefix of 8 to 29 bits")]
    Length(Ipv4Net),
    #[error("{0}: a network has a prefix of 8 to 112 bits")]
    Length6(Ipv6Net),
    #[error("{0}: addresses of this kind are no network's")]
    Kind(ipnet::IpNet),
}

/// Reads `10.20.0.0/24`.
///
/// # Errors
/// [`SubnetError`].
pub fn check_subnet(text: &str) -> Result<Ipv4Net, SubnetError> {
    let wrong = |_| SubnetError::Four(text.to_owned());
    let subnet: Ipv4Net = text.parse().map_err(wrong)?;
    if !(8..=29).contains(&subnet.prefix_len()) {
        return Err(SubnetError::Length(subnet));
    }
    if subnet.trunc() != subnet {
        let (subnet, meant) = (subnet.into(), subnet.trunc().into());
        return Err(SubnetError::Bits { subnet, meant });
    }
    let first = subnet.network();
    if first.is_loopback()
        || first.is_multicast()
        || first.is_link_local()
        || first.octets()[0] == 0
    {
        return Err(SubnetError::Kind(subnet.into()));
    }
    Ok(subnet)
}

/// Reads `fd00:1:2:3::/64`.
///
/// # Errors
/// [`SubnetError`].
pub fn check_subnet6(text: &str) -> Result<Ipv6Net, SubnetError> {
    let wrong = |_| SubnetError::Six(text.to_owned());
    let subnet: Ipv6Net = text.parse().map_err(wrong)?;
    if !(8..=112).contains(&subnet.prefix_len()) {
        return Err(SubnetError::Length6(subnet));
    }
    if subnet.trunc() != subnet {
        let (subnet, meant) = (subnet.into(), subnet.trunc().into());
        return Err(SubnetError::Bits { subnet, meant });
    }
    let first = subnet.network();
    if first.is_multicast() || first.is_unicast_link_local() || first.segments()[0] == 0 {
        return Err(SubnetError::Kind(subnet.into()));
    }
    Ok(subnet)
}
