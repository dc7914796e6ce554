//! Herds of users who are not there: for each name in `/var/lib/herd/linger` the unit `user@UID` is started.
//!
//! An empty file says it, as with `loginctl enable-linger`. The other way is to enable `user@UID`.
#![forbid(unsafe_code)]

use std::fs;
use std::io;

use units::UnitName;

use super::{TaskError, herd_of_the_machine, tell};
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, Empty, Job};
use crate::prepare::chain;
use crate::users::{User, Users};

const DIRECTORY: &str = "/var/lib/herd/linger";

/// Why a user's herd is not started.
#[derive(Debug, thiserror::Error)]
enum LingerError {
    #[error("there is no such user")]
    NoUser,
    #[error(transparent)]
    Client(#[from] ClientError),
}

pub(super) fn run() -> Result<(), TaskError> {
    let names = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(TaskError::File {
                what: "read",
                path: DIRECTORY.into(),
                source,
            });
        }
    };
    let users = Users::read().unwrap_or_default();
    let mut count = 0;
    for name in names.flatten().map(|entry| entry.file_name()) {
        let name = name.to_string_lossy();
        if let Err(error) = start(&users, &name) {
            tell(&format!("{DIRECTORY}/{name}: {}", chain(&error)));
            count += 1;
        }
    }
    match count {
        0 => Ok(()),
        count => Err(TaskError::Users { count }),
    }
}

fn start(users: &Users, name: &str) -> Result<(), LingerError> {
    let unit = unit_of(users, name).ok_or(LingerError::NoUser)?;
    let mut client = herd_of_the_machine()?;
    let job = Job {
        units: vec![unit],
        // We are on the way to multi-user ourselves, and wait for nobody.
        wait: false,
    };
    let Empty {} = client.call(&Call::Start(job), Some(ANSWER_TIMEOUT))?;
    Ok(())
}

/// Names only: a number needs no line in passwd(5), and would be anybody's.
fn unit_of(users: &Users, name: &str) -> Option<UnitName> {
    let User { uid, .. } = users.user(name).filter(|user| user.name == name)?;
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    UnitName::new(&format!("user@{uid}"))
        .ok()
        .filter(|_| !is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_passwd_is_a_unit_and_a_number_is_not() {
        let users = Users::parse("ann:x:1000:1000::/home/ann:/bin/sh\n", "");
        let of = |name| unit_of(&users, name).map(|unit| unit.to_string());
        assert_eq!(of("ann").as_deref(), Some("user@1000"));
        assert_eq!(of("1000"), None);
        assert_eq!(of("bob"), None);
    }
}
