//! `herd network`: the networks of boxes, as files say and as they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use units::load::{network_definition, network_names};
use units::network::{
    NetworkDefinition, SUBNET_HINT, SUBNET6_HINT, check_subnet, check_subnet6, network_name,
};
use units::{Diagnostic, Facts, host_facts};

use super::add::{quoted, write_new};
use super::failure::{Failure, USAGE};
use super::places::Places;
use super::screen::Screen;
use super::table::{Cell, lines};
use crate::control::client::{ANSWER_TIMEOUT, Client, ClientError};
use crate::control::protocol::{Call, Network, NetworksReply};

#[derive(Debug, Subcommand)]
pub enum Action {
    /// List networks: those that have a file, and those that have boxes.
    #[command(visible_alias = "ls")]
    List,
    /// Show one network, and who is on it.
    Show { name: String },
    /// Write the file of a network; its bridge comes with its first box.
    Create {
        name: String,
        /// IPv4 addresses of boxes; chosen where it is not given.
        #[arg(long, value_name = "ADDRESS/LENGTH")]
        subnet: Option<String>,
        /// IPv6 addresses of boxes; chosen where it is not given.
        #[arg(long, value_name = "ADDRESS/LENGTH", conflicts_with = "no_ipv6")]
        subnet6: Option<String>,
        /// Boxes reach each other and the host, and nothing else.
        #[arg(long)]
        internal: bool,
        /// IPv4 alone.
        #[arg(long)]
        no_ipv6: bool,
        /// The largest packet in bytes; 1500 where it is not given.
        #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1280..=65_535))]
        mtu: Option<u32>,
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Remove the file of a network that no box is on.
    #[command(visible_alias = "rm")]
    Remove { name: String },
}

pub(super) fn network(
    places: &Places,
    screen: &mut Screen,
    action: &Action,
) -> Result<ExitCode, Failure> {
    match action {
        Action::List => list(places, screen),
        Action::Show { name } => show(places, screen, name),
        Action::Create {
            name,
            subnet,
            subnet6,
            internal,
            no_ipv6,
            mtu,
            description,
        } => {
            let text = Definition {
                description: description.as_deref(),
                subnet: subnet.as_deref(),
                subnet6: subnet6.as_deref(),
                internal: *internal,
                no_ipv6: *no_ipv6,
                mtu: *mtu,
            };
            create(places, screen, checked(name)?, &text)
        }
        Action::Remove { name } => remove(places, screen, checked(name)?),
    }
}

fn checked(name: &str) -> Result<&str, Failure> {
    let wrong = |error| Failure::new(USAGE, format!("{name:?} is no name of a network: {error}"));
    network_name(name).map(|()| name).map_err(wrong)
}

/// The networks that have boxes; none where no herd runs.
fn live(places: &Places) -> Result<BTreeMap<String, Network>, Failure> {
    let nobody = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused);
    let mut client = match Client::connect(&places.socket()) {
        Err(ClientError::Unreachable { source, .. }) if nobody(source.kind()) => {
            return Ok(BTreeMap::new());
        }
        client => client?,
    };
    let reply: NetworksReply = client.call(&Call::Networks, Some(ANSWER_TIMEOUT))?;
    let networks = reply.networks.into_iter();
    Ok(networks.map(|one| (one.name.clone(), one)).collect())
}

fn defined(
    places: &Places,
    name: &str,
    facts: &Facts,
) -> Result<Option<NetworkDefinition>, Failure> {
    network_definition(&places.search, name, facts).map_err(|problems| broken(&problems))
}

fn broken(problems: &[Diagnostic]) -> Failure {
    let text = units::diagnostic::render_all(problems, false);
    Failure::failed(format!("the file of a network is in error:\n{text}"))
}

fn list(places: &Places, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let facts = host_facts();
    let live = live(places)?;
    let files = network_names(&places.search, &facts).map_err(|problem| broken(&[problem]))?;
    let mut names: Vec<&String> = files.iter().chain(live.keys()).collect();
    names.sort();
    names.dedup();
    let mut documents = Vec::new();
    let mut rows = Vec::new();
    for name in names {
        let one = live.get(name);
        let definition = defined(places, name, &facts);
        if screen.json {
            documents.push(document(name, one, definition?.as_ref()));
            continue;
        }
        let state = match (&definition, one) {
            (Err(_), _) => "broken".to_owned(),
            (_, Some(one)) => count(one.boxes.len()),
            (_, None) => "no box".to_owned(),
        };
        let definition = definition.ok().flatten();
        let subnet = subnets(one, definition.as_ref());
        let what = one.and_then(|one| one.description.clone());
        let what = what.or_else(|| definition?.description);
        rows.push(vec![
            Cell::plain(name),
            Cell::plain(state),
            Cell::plain(one.map_or("-", |one| &one.device)),
            Cell::plain(
                subnet
                    .first()
                    .cloned()
                    .unwrap_or_else(|| "chosen".to_owned()),
            ),
            Cell::plain(what.map_or_else(String::new, |what| screen.foreign(&what))),
        ]);
    }
    if screen.json {
        screen.document(&documents)?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["NAME", "BOXES", "DEVICE", "SUBNET", "DESCRIPTION"];
    for line in lines(screen, &header, &rows) {
        screen.line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn count(boxes: usize) -> String {
    match boxes {
        1 => "1 box".to_owned(),
        many => format!("{many} boxes"),
    }
}

/// As they are, or as the file wants them.
fn subnets(live: Option<&Network>, file: Option<&NetworkDefinition>) -> Vec<String> {
    match (live, file) {
        (Some(live), _) => {
            let four = std::iter::once(&live.subnet);
            four.chain(&live.subnet6).cloned().collect()
        }
        (None, Some(file)) => {
            let four = file.network.subnet.map(|four| four.to_string());
            let six = file.network.subnet6.map(|six| six.to_string());
            four.into_iter().chain(six).collect()
        }
        (None, None) => Vec::new(),
    }
}

fn document(
    name: &str,
    live: Option<&Network>,
    file: Option<&NetworkDefinition>,
) -> serde_json::Value {
    json!({
        "name": name,
        "description": live
            .and_then(|live| live.description.as_ref())
            .or_else(|| file?.description.as_ref()),
        "defined": file.is_some(),
        "internal": live.map_or_else(
            || file.is_some_and(|file| file.network.internal),
            |live| live.internal,
        ),
        "device": live.map(|live| &live.device),
        "subnets": subnets(live, file),
        "gateway": live.map(|live| &live.gateway),
        "gateway6": live.and_then(|live| live.gateway6.as_ref()),
        "mtu": file.and_then(|file| file.network.mtu),
        "boxes": live.map_or(&[][..], |live| &live.boxes),
    })
}

fn show(places: &Places, screen: &mut Screen, name: &str) -> Result<ExitCode, Failure> {
    let name = checked(name)?;
    let all = live(places)?;
    let live = all.get(name);
    let definition = defined(places, name, &host_facts())?;
    if live.is_none() && definition.is_none() {
        return Err(nothing(name));
    }
    if screen.json {
        screen.document(&document(name, live, definition.as_ref()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut fields: Vec<(&str, String)> = Vec::new();
    let file = file_of(places, name)?;
    fields.push(match &definition {
        Some(_) => ("File", file.display().to_string()),
        None => ("File", "none; everything is chosen".to_owned()),
    });
    if let Some(text) = definition
        .as_ref()
        .and_then(|file| file.description.as_ref())
    {
        fields.push(("Description", screen.foreign(text)));
    }
    let wanted = definition.as_ref().map(|file| &file.network);
    let subnets = subnets(live, definition.as_ref());
    fields.push(match subnets.is_empty() {
        true => ("Subnet", "chosen with the first box".to_owned()),
        false => ("Subnet", subnets.join(", ")),
    });
    if let Some(live) = live {
        let six = live.gateway6.iter().cloned();
        let gateways: Vec<String> = std::iter::once(live.gateway.clone()).chain(six).collect();
        fields.push(("Gateway", gateways.join(", ")));
        fields.push(("Device", live.device.clone()));
    }
    if let Some(mtu) = wanted.and_then(|network| network.mtu) {
        fields.push(("MTU", mtu.to_string()));
    }
    let internal = live.map_or_else(
        || wanted.is_some_and(|network| network.internal),
        |live| live.internal,
    );
    if internal {
        fields.push(("Internal", "yes: it leads nowhere else".to_owned()));
    }
    screen.line(name)?;
    for (label, text) in fields {
        screen.line(format!("{label:>11}: {text}"))?;
    }
    let boxes = live.map_or(&[][..], |live| &live.boxes);
    if boxes.is_empty() {
        screen.line("      Boxes: none")?;
        return Ok(ExitCode::SUCCESS);
    }
    screen.line("")?;
    let rows: Vec<Vec<Cell>> = boxes
        .iter()
        .map(|one| {
            let six = one.address6.as_ref();
            vec![
                Cell::plain(screen.foreign(&one.name)),
                Cell::plain(&one.address),
                Cell::plain(six.map_or("-", String::as_str)),
                Cell::plain(one.ports.join(", ")),
            ]
        })
        .collect();
    for line in lines(screen, &["BOX", "ADDRESS", "ADDRESS6", "PORTS"], &rows) {
        screen.line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn nothing(name: &str) -> Failure {
    Failure::failed(format!("there is no network {name}"))
        .hint("`herd network list` shows all that have a file or a box")
}

fn file_of(places: &Places, name: &str) -> Result<PathBuf, Failure> {
    let directory = places.search.networks.as_deref();
    let none = || Failure::failed("there is no directory of networks");
    Ok(directory.ok_or_else(none)?.join(format!("{name}.toml")))
}

/// What the options of `create` say.
struct Definition<'a> {
    description: Option<&'a str>,
    subnet: Option<&'a str>,
    subnet6: Option<&'a str>,
    internal: bool,
    no_ipv6: bool,
    mtu: Option<u32>,
}

impl Definition<'_> {
    fn text(&self) -> Result<String, Failure> {
        let wrong = |error: units::network::SubnetError, hint: &str| {
            Failure::new(USAGE, error.to_string()).hint(hint)
        };
        let mut text = String::new();
        let mut add = |key: &str, value: &str| {
            writeln!(text, "{key} = {value}").expect("a String takes all");
        };
        if let Some(words) = self.description {
            add("description", &quoted(words));
        }
        if let Some(four) = self.subnet {
            let subnet = check_subnet(four).map_err(|error| wrong(error, SUBNET_HINT))?;
            add("subnet", &quoted(&subnet.to_string()));
        }
        if let Some(six) = self.subnet6 {
            let subnet = check_subnet6(six).map_err(|error| wrong(error, SUBNET6_HINT))?;
            add("subnet6", &quoted(&subnet.to_string()));
        }
        if self.no_ipv6 {
            add("ipv6", "false");
        }
        if self.internal {
            add("internal", "true");
        }
        if let Some(mtu) = self.mtu {
            add("mtu", &mtu.to_string());
        }
        Ok(text)
    }
}

fn create(
    places: &Places,
    screen: &mut Screen,
    name: &str,
    definition: &Definition<'_>,
) -> Result<ExitCode, Failure> {
    let path = file_of(places, name)?;
    let text = definition.text()?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(|error| Failure::file("make", directory, &error))?;
    write_new(directory, &path, text.as_bytes())?;
    if screen.json {
        screen.document(&json!({ "name": name, "path": path.display().to_string() }))?;
    } else {
        screen.line(format!("wrote {}", path.display()))?;
        screen.line(format!(
            "boxes are on it with `bridge = \"{name}\"` in [network]"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(places: &Places, screen: &mut Screen, name: &str) -> Result<ExitCode, Failure> {
    let path = file_of(places, name)?;
    let live = live(places)?;
    let boxes = live.get(name).map_or(&[][..], |live| &live.boxes);
    if !boxes.is_empty() {
        let on_it: Vec<&str> = boxes.iter().map(|one| one.name.as_str()).collect();
        let message = format!(
            "network {name} has {}: {}",
            count(boxes.len()),
            on_it.join(", ")
        );
        return Err(Failure::failed(message).hint("stop them first"));
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(nothing(name)),
        Err(error) => return Err(Failure::file("remove", &path, &error)),
        Ok(()) => {}
    }
    if screen.json {
        screen.document(&json!({ "name": name, "path": path.display().to_string() }))?;
    } else {
        screen.line(format!("removed {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
