//! Probes: `[ready]` and `[health]`.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::time::Duration;

use super::commands::read_command;
use super::{Draft, ProbeParts};
use crate::reader::{Item, Reader};
use crate::unit::{Health, OnUnhealthy, Probe, ProbeLoop, Ready};

pub(super) fn read_ready(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    name: &str,
    item: Item<'_>,
) -> bool {
    read_part(&mut draft.ready_probe, reader, name, item)
}

pub(super) fn read_health(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    name: &str,
    item: Item<'_>,
) -> bool {
    let words = [
        ("restart", OnUnhealthy::Restart),
        ("stop", OnUnhealthy::Stop),
        ("report", OnUnhealthy::Report),
    ];
    match name {
        "retries" => draft.health_retries = reader.number(item, 1..=1_000).unwrap_or(3),
        "start_period" => {
            draft.health_start_period = reader.finite_duration(item).unwrap_or_default();
        }
        "on_unhealthy" => draft.on_unhealthy = reader.choice(item, &words).unwrap_or_default(),
        _ => return read_part(&mut draft.health_probe, reader, name, item),
    }
    true
}

fn read_part(parts: &mut ProbeParts, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let probe = match name {
        "interval" => {
            parts.interval = reader.interval(item);
            return true;
        }
        "timeout" => {
            parts.timeout = reader.interval(item);
            return true;
        }
        "tcp" => read_tcp(reader, item).map(Probe::Tcp),
        "http" => read_http(reader, item).map(Probe::Http),
        "unix" => reader.path(item).map(Probe::Unix),
        "command" => read_command(reader, item).map(Probe::Command),
        "path" => reader.path(item).map(Probe::Path),
        _ => return false,
    };
    parts.probes.extend(probe);
    true
}

/// A table with exactly one probe becomes the probe; `check` tells about any other.
pub(super) fn assemble(draft: &mut Draft) {
    let quarter = Duration::from_millis(250);
    if let Some(check) = probe_loop(&mut draft.ready_probe, quarter) {
        draft.unit.ready = Ready::Probe(Box::new(check));
    }
    if let Some(check) = probe_loop(&mut draft.health_probe, Duration::from_secs(10)) {
        draft.unit.health = Some(Box::new(Health {
            check,
            retries: draft.health_retries,
            start_period: draft.health_start_period,
            on_unhealthy: draft.on_unhealthy,
        }));
    }
}

fn probe_loop(parts: &mut ProbeParts, interval: Duration) -> Option<ProbeLoop> {
    Some(ProbeLoop {
        probe: parts.probes.first()?.clone(),
        interval: parts.interval.unwrap_or(interval),
        timeout: parts.timeout.unwrap_or(Duration::from_secs(5)),
    })
}

/// Says what to write for a readiness word that is none.
pub(super) fn explain_ready(reader: &mut Reader<'_>, item: Item<'_>, text: &str) {
    let words = ["exec", "notify", "forking", "idle"];
    let hint = match crate::keys::nearest(text, words) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "known are \"exec\", \"notify\", \"fd:N\", \"forking\", \"idle\", and a table \
                 with a probe: { tcp = \"127.0.0.1:80\" }"
            .to_owned(),
    };
    reader.error_with_hint(item, format!("{text:?} is no kind of readiness"), hint);
}

fn read_tcp(reader: &mut Reader<'_>, item: Item<'_>) -> Option<String> {
    let text = reader.text(item)?;
    if let Some(problem) = authority_problem(&text, true) {
        reader.error_with_hint(item, problem, "write \"127.0.0.1:5432\" or \"[::1]:5432\"");
        return None;
    }
    Some(text)
}

fn read_http(reader: &mut Reader<'_>, item: Item<'_>) -> Option<String> {
    const HINT: &str = "write \"http://127.0.0.1:8080/health\"";
    let text = reader.text(item)?;
    let Some(rest) = text.strip_prefix("http://") else {
        reader.error_with_hint(item, "an http probe begins with http://", HINT);
        return None;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some(problem) = authority_problem(authority, false) {
        reader.error_with_hint(item, problem, HINT);
        return None;
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        reader.error_with_hint(item, "an address holds no blanks", HINT);
        return None;
    }
    Some(text)
}

/// What is wrong with `host:port`, where the host is an address or `localhost`.
fn authority_problem(text: &str, port_needed: bool) -> Option<String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, after)) => (host, after),
            None => return Some("the bracket is not closed".to_owned()),
        },
        None => match text.rfind(':') {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        },
    };
    match port.strip_prefix(':') {
        None if port.is_empty() && !port_needed => {}
        Some(digits) if digits.parse::<u16>().is_ok_and(|port| port != 0) => {}
        None | Some(_) => return Some("a port from 1 to 65535 belongs after the host".to_owned()),
    }
    let known = host == "localhost" || host.parse::<IpAddr>().is_ok();
    (!known).then(|| format!("{host:?} is no address; names are never looked up, but localhost"))
}
