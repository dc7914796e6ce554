//! What is told on `--info-fd` and `--json-status-fd`, byte for byte as bubblewrap writes it.
#![forbid(unsafe_code)]

use sandbox::NamespaceIds;

use super::arguments::Unshare;

/// The box's process and its new namespaces.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    pub pid: i32,
    pub namespaces: NamespaceIds,
    pub unshare: Unshare,
}

impl Told {
    /// New namespaces by their names in JSON, in the order they are told. The user namespace is not
    /// among them: it may still be exchanged for another.
    fn new_namespaces(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let (ids, unshare) = (self.namespaces, self.unshare);
        [
            ("cgroup", unshare.cgroup, ids.cgroup),
            ("ipc", unshare.ipc, ids.ipc),
            ("mnt", true, ids.mnt),
            ("net", unshare.net, ids.net),
            ("pid", unshare.pid, ids.pid),
            ("uts", unshare.uts, ids.uts),
        ]
        .into_iter()
        .filter(|(_, is_new, _)| *is_new)
        .filter_map(|(name, _, id)| Some((name, id?)))
    }

    /// For `--info-fd`: one object, several lines.
    pub fn info(&self) -> String {
        let mut text = format!("{{\n    \"child-pid\": {}", self.pid);
        for (name, id) in self.new_namespaces() {
            text.push_str(&format!(",\n    \"{name}-namespace\": {id}"));
        }
        text.push_str("\n}\n");
        text
    }

    /// For `--json-status-fd`: the same on one line.
    pub fn line(&self) -> String {
        let mut text = format!("{{ \"child-pid\": {}", self.pid);
        for (name, id) in self.new_namespaces() {
            text.push_str(&format!(", \"{name}-namespace\": {id}"));
        }
        text.push_str(" }\n");
        text
    }
}

/// The last line of `--json-status-fd`.
pub fn exit_line(code: i32) -> String {
    format!("{{ \"exit-code\": {code} }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_namespaces_are_told_in_the_order_of_their_names() {
        let told = Told {
            pid: 7,
            namespaces: NamespaceIds {
                user: Some(1),
                mnt: Some(2),
                pid: Some(3),
                net: Some(4),
                ipc: Some(5),
                uts: Some(6),
                cgroup: Some(8),
                time: None,
            },
            unshare: Unshare {
                user: true,
                pid: true,
                cgroup: true,
                ..Unshare::default()
            },
        };
        assert_eq!(
            told.info(),
            "{\n    \"child-pid\": 7,\n    \"cgroup-namespace\": 8,\n    \"mnt-namespace\": 2,\n    \
             \"pid-namespace\": 3\n}\n"
        );
        assert_eq!(
            told.line(),
            "{ \"child-pid\": 7, \"cgroup-namespace\": 8, \"mnt-namespace\": 2, \
             \"pid-namespace\": 3 }\n"
        );
        assert_eq!(exit_line(3), "{ \"exit-code\": 3 }\n");
    }
}
