//! `/etc/passwd` and `/etc/group`, read directly: NSS may ask a service that herd has yet to start,
//! and a static binary cannot load its modules (`passwd(5)`, `group(5)`).
#![forbid(unsafe_code)]

use std::io;

use sandbox::config::Identity;

/// The two files as they were when read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    passwd: String,
    group: String,
}

/// One line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("user {0} does not exist")]
    NoUser(String),
    #[error("group {0} does not exist")]
    NoGroup(String),
    #[error("cannot read {path}")]
    Read {
        path: &'static str,
        source: io::Error,
    },
}

impl Users {
    /// # Errors
    /// When a file exists and cannot be read; a missing one is empty.
    pub fn read() -> Result<Self, IdentityError> {
        let read = |path: &'static str| match std::fs::read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(IdentityError::Read { path, source }),
        };
        Ok(Self {
            passwd: read("/etc/passwd")?,
            group: read("/etc/group")?,
        })
    }

    pub fn parse(passwd: &str, group: &str) -> Self {
        Self {
            passwd: passwd.to_owned(),
            group: group.to_owned(),
        }
    }

    /// A user by name, or by number; a number needs no line in the file.
    pub fn user(&self, wanted: &str) -> Option<User> {
        let number = wanted.parse::<u32>().ok();
        let mut users = self.passwd.lines().filter_map(user_line);
        users
            .find(|user| user.name == wanted || number == Some(user.uid))
            .or_else(|| {
                number.map(|uid| User {
                    name: wanted.to_owned(),
                    uid,
                    gid: uid,
                    home: "/".to_owned(),
                    shell: "/bin/sh".to_owned(),
                })
            })
    }

    pub fn group(&self, wanted: &str) -> Option<u32> {
        let known = self.group.lines().filter_map(group_line);
        let known = known
            .filter(|group| group.name == wanted)
            .map(|group| group.gid)
            .next();
        known.or_else(|| wanted.parse().ok())
    }

    /// Claims that some user or group has this number.
    pub fn has_number(&self, number: u32) -> bool {
        let users = self.passwd.lines().filter_map(user_line);
        let groups = self.group.lines().filter_map(group_line);
        users.map(|user| user.uid).any(|uid| uid == number)
            || groups.map(|group| group.gid).any(|gid| gid == number)
    }

    /// The groups whose member list names the user.
    pub fn memberships(&self, user: &str) -> Vec<u32> {
        let groups = self.group.lines().filter_map(group_line);
        groups
            .filter(|g| g.members.split(',').any(|m| m == user))
            .map(|g| g.gid)
            .collect()
    }

    /// The numbers a process runs as, and the user's line when a user is named.
    ///
    /// # Errors
    /// [`IdentityError`] names the user or group that does not exist.
    pub fn identity(
        &self,
        user: Option<&str>,
        group: Option<&str>,
        supplementary: &[String],
    ) -> Result<(Identity, Option<User>), IdentityError> {
        let found = match user {
            None => None,
            Some(name) => Some(
                self.user(name)
                    .ok_or_else(|| IdentityError::NoUser(name.to_owned()))?,
            ),
        };
        let gid = |name: &str| {
            self.group(name)
                .ok_or_else(|| IdentityError::NoGroup(name.to_owned()))
        };
        let own = group
            .map(gid)
            .transpose()?
            .or(found.as_ref().map(|user| user.gid));
        let mut groups = found
            .as_ref()
            .map(|u| self.memberships(&u.name))
            .unwrap_or_default();
        for name in supplementary {
            groups.push(gid(name)?);
        }
        groups.sort_unstable();
        groups.dedup();
        let changes = found.is_some() || own.is_some() || !supplementary.is_empty();
        let identity = Identity {
            uid: found.as_ref().map(|user| user.uid),
            gid: own,
            groups: changes.then_some(groups),
        };
        Ok((identity, found))
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn user_line(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1)?.to_owned();
    let shell = fields.next().unwrap_or("").to_owned();
    Some(User {
        name,
        uid,
        gid,
        home,
        shell,
    })
}

fn group_line(line: &str) -> Option<Group<'_>> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some(Group {
        name,
        gid,
        members: fields.next().unwrap_or(""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::parse(
            "root:x:0:0:root:/root:/bin/bash\nweb:x:33:33::/var/www:/usr/sbin/nologin\nbroken\n",
            "root:x:0:\nweb:x:33:\nssl:x:105:web,mail\nlogs:x:4:mail\n",
        )
    }

    #[test]
    fn a_user_brings_its_group_and_the_groups_that_list_it() {
        let (identity, user) = users()
            .identity(Some("web"), None, &["logs".into()])
            .unwrap();
        assert_eq!(identity.uid, Some(33));
        assert_eq!(identity.gid, Some(33));
        assert_eq!(identity.groups, Some(vec![4, 105]));
        assert_eq!(user.unwrap().home, "/var/www");
    }

    #[test]
    fn a_number_needs_no_line_and_a_name_does() {
        assert_eq!(users().user("4711").unwrap().uid, 4711);
        let error = users()
            .identity(Some("nobody-here"), None, &[])
            .unwrap_err();
        assert_eq!(error.to_string(), "user nobody-here does not exist");
        let error = users()
            .identity(None, Some("nogroup-here"), &[])
            .unwrap_err();
        assert_eq!(error.to_string(), "group nogroup-here does not exist");
    }

    #[test]
    fn nothing_named_changes_nothing() {
        let (identity, user) = users().identity(None, None, &[]).unwrap();
        assert_eq!((identity, user), (Identity::default(), None));
    }
}
