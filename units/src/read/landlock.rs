//! `landlock` and `landlock_scope` of `[box]`.
#![forbid(unsafe_code)]

use sandbox::config::{
    Landlock, PathAccess, PathRule, PortAccess, PortRule, Ports, Scope, Scopes, Walls,
};
use toml::de::DeValue;

use crate::diagnostic::Severity;
use crate::reader::{Item, Reader};

pub(super) fn read_landlock(
    walls: &mut Walls,
    reader: &mut Reader<'_>,
    path: &str,
    item: Item<'_>,
) -> bool {
    match path {
        "box.landlock" => {
            let mut landlock = Landlock {
                enabled: true,
                scopes: walls.landlock.scopes,
                ..Landlock::default()
            };
            let items = reader.list(item);
            let count = items.len();
            for item in items {
                read_rule(&mut landlock, reader, item);
            }
            let was_read = landlock.paths.len() + landlock.ports.len() == count;
            let runs = |rule: &PathRule| rule.access == PathAccess::Execute;
            if was_read && !landlock.paths.iter().any(runs) {
                // It would end in a bare "permission denied" at the start.
                let message = "no rule lets a program be executed, the command neither";
                let hint =
                    "add { path = \"/usr\", access = \"execute\" }, or where the command lies";
                let (file, span) = (item.file, item.span());
                let hint = Some(hint.to_owned());
                reader.report(Severity::Warning, file, span, message.to_owned(), hint);
            }
            walls.landlock = landlock;
        }
        "box.landlock_scope" => walls.landlock.scopes = read_scopes(reader, item),
        _ => return false,
    }
    true
}

const PATH_ACCESS: [(&str, PathAccess); 4] = [
    ("read", PathAccess::Read),
    ("write", PathAccess::Write),
    ("read_write", PathAccess::ReadWrite),
    ("execute", PathAccess::Execute),
];

const PORT_ACCESS: [(&str, PortAccess); 3] = [
    ("bind", PortAccess::Bind),
    ("connect", PortAccess::Connect),
    ("both", PortAccess::Both),
];

/// `{ path = "/srv", access = "read" }` or `{ tcp = 443, access = "connect" }`.
fn read_rule(landlock: &mut Landlock, reader: &mut Reader<'_>, item: Item<'_>) {
    let Some(table) = reader.table(item) else {
        return;
    };
    let (mut path, mut tcp, mut access, mut optional) = (None, None, None, None);
    for (key, value) in table {
        let value = item.sibling(value);
        match key.get_ref().as_ref() {
            "path" => path = Some(value),
            "tcp" => tcp = Some(value),
            "access" => access = Some(value),
            "optional" => optional = Some(value),
            other => {
                let message = format!("{other:?} is no key of a landlock rule");
                reader.error_with_hint(value, message, HINT);
                return;
            }
        }
    }
    let (Some(access), true) = (access, path.is_some() != tcp.is_some()) else {
        let message = "a landlock rule has an `access`, and either a `path` or a `tcp`";
        return reader.error_with_hint(item, message, HINT);
    };
    if let Some(path) = path {
        let optional = optional.and_then(|item| reader.boolean(item));
        let rule = reader.path(path).zip(reader.choice(access, &PATH_ACCESS));
        landlock.paths.extend(rule.map(|(path, access)| PathRule {
            path,
            access,
            optional: optional.unwrap_or_default(),
        }));
    } else if let Some(tcp) = tcp {
        if let Some(optional) = optional {
            reader.error(optional, "only a path can be `optional`");
        }
        let rule = read_ports(reader, tcp).zip(reader.choice(access, &PORT_ACCESS));
        let rule = rule.map(|(ports, access)| PortRule { ports, access });
        landlock.ports.extend(rule);
    }
}

const HINT: &str =
    "write { path = \"/srv\", access = \"read\" } or { tcp = 443, access = \"connect\" }";

fn read_ports(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Ports> {
    if let DeValue::String(_) = item.value() {
        return reader.choice(item, &[("any", Ports::Any)]);
    }
    reader.number::<u16>(item, 1..=65_535).map(Ports::One)
}

/// What is not in the list is open.
fn read_scopes(reader: &mut Reader<'_>, item: Item<'_>) -> Scopes {
    type Field = fn(&mut Scopes) -> &mut Scope;
    let words: [(&str, Field); 2] = [
        ("abstract_unix_socket", |scopes| {
            &mut scopes.abstract_unix_sockets
        }),
        ("signal", |scopes| &mut scopes.signals),
    ];
    let mut scopes = Scopes::default();
    for item in reader.list(item) {
        if let Some(field) = reader.choice(item, &words) {
            *field(&mut scopes) = Scope::Shut;
        }
    }
    scopes
}
