//! Identity and dependencies.
#![forbid(unsafe_code)]

use super::Draft;
use crate::reader::{Item, Reader};
use crate::unit::{Install, Kind, OnChange};

pub(super) fn read_identity(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    name: &str,
    item: Item<'_>,
) -> bool {
    let unit = &mut draft.unit;
    match name {
        "description" => unit.description = reader.text(item).map(String::into_boxed_str),
        "kind" => {
            let kinds = [("service", Kind::Service), ("target", Kind::Target)];
            unit.kind = reader.choice(item, &kinds).unwrap_or(Kind::Service);
        }
        "on_change" => {
            let words = [("keep", OnChange::Keep), ("restart", OnChange::Restart)];
            unit.on_change = reader.choice(item, &words).unwrap_or_default();
        }
        "documentation" => install(draft).documentation = reader.texts(item),
        "wanted_by" => install(draft).wanted_by = reader.unit_names(item),
        "required_by" => install(draft).required_by = reader.unit_names(item),
        "aliases" => install(draft).aliases = reader.unit_names(item),
        _ => return false,
    }
    true
}

pub(super) fn read(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let own_name = draft.unit.name.clone();
    let dependencies = draft.dependencies();
    let names = match name {
        "requires" => &mut dependencies.requires,
        "requisite" => &mut dependencies.requisite,
        "wants" => &mut dependencies.wants,
        "binds_to" => &mut dependencies.binds_to,
        "part_of" => &mut dependencies.part_of,
        "upholds" => &mut dependencies.upholds,
        "conflicts" => &mut dependencies.conflicts,
        "before" => &mut dependencies.before,
        "after" => &mut dependencies.after,
        "on_failure" => &mut dependencies.on_failure,
        "on_success" => &mut dependencies.on_success,
        "requires_mounts_for" => {
            let items = reader.list(item);
            dependencies.requires_mounts_for = items
                .into_iter()
                .filter_map(|item| reader.path(item))
                .collect();
            return true;
        }
        "stop_when_unneeded" => {
            dependencies.stop_when_unneeded = reader.boolean(item).unwrap_or_default();
            return true;
        }
        "refuse_manual_start" => {
            dependencies.refuse_manual_start = reader.boolean(item).unwrap_or_default();
            return true;
        }
        "refuse_manual_stop" => {
            dependencies.refuse_manual_stop = reader.boolean(item).unwrap_or_default();
            return true;
        }
        "default_dependencies" => {
            dependencies.no_default_dependencies = !reader.boolean(item).unwrap_or(true);
            return true;
        }
        _ => return false,
    };
    *names = reader.unit_names(item);
    if names.contains(&own_name) {
        reader.error(item, format!("{own_name} cannot name itself in {name}"));
    }
    true
}

fn install(draft: &mut Draft) -> &mut Install {
    draft.unit.install.get_or_insert_default()
}
