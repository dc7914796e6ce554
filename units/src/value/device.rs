//! Rules about device nodes: `/dev/fuse rw`, `char-pts rw`, `block-*`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use sandbox::config::{DeviceMatch, DeviceRule};

/// Why a text is no rule. The display says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("a rule about devices is a device and then its access, {0:?} has more words")]
    Words(String),
    #[error("{0:?} is no device")]
    Device(String),
    #[error("{0:?} is no access: r reads, w writes, m makes the node")]
    Access(String),
}

/// The rule in a text of systemd's `DeviceAllow=`: without an access every one is meant; `-` in front
/// makes a device that is missing no error.
///
/// # Errors
/// [`DeviceError`].
pub fn parse_device_rule(text: &str) -> Result<DeviceRule, DeviceError> {
    let mut words = text.split_whitespace();
    let device = words.next().unwrap_or_default();
    let access = words.next().unwrap_or("rwm");
    if words.next().is_some() {
        return Err(DeviceError::Words(text.to_owned()));
    }
    let known = |letter| matches!(letter, 'r' | 'w' | 'm');
    if access.is_empty() || !access.chars().all(known) {
        return Err(DeviceError::Access(access.to_owned()));
    }
    let (name, optional) = match device.strip_prefix('-') {
        Some(name) => (name, true),
        None => (device, false),
    };
    let class = |block, driver: &str| DeviceMatch::Class {
        block,
        driver: driver.to_owned(),
    };
    let device = match (name.strip_prefix("char-"), name.strip_prefix("block-")) {
        (Some(driver), _) if !driver.is_empty() => class(false, driver),
        (_, Some(driver)) if !driver.is_empty() => class(true, driver),
        _ if is_node(name) => DeviceMatch::Path(PathBuf::from(name)),
        _ => return Err(DeviceError::Device(name.to_owned())),
    };
    Ok(DeviceRule {
        device,
        read: access.contains('r'),
        write: access.contains('w'),
        make: access.contains('m'),
        optional,
    })
}

fn is_node(name: &str) -> bool {
    name.strip_prefix("/dev/")
        .is_some_and(|below| !below.is_empty() && below.split('/').all(|part| part != ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_are_those_of_systemd() {
        let rule = parse_device_rule("/dev/fuse rw").unwrap();
        assert_eq!(rule.device, DeviceMatch::Path("/dev/fuse".into()));
        assert!(rule.read && rule.write && !rule.make && !rule.optional);
        let rule = parse_device_rule("-block-* r").unwrap();
        let driver = "*".to_owned();
        assert_eq!(
            rule.device,
            DeviceMatch::Class {
                block: true,
                driver
            }
        );
        assert!(rule.read && !rule.write && !rule.make && rule.optional);
        let rule = parse_device_rule("char-pts").unwrap();
        assert!(rule.read && rule.write && rule.make);
    }

    #[test]
    fn what_is_no_rule_is_told() {
        for (text, why) in [
            ("", "\"\" is no device"),
            ("/etc/passwd r", "\"/etc/passwd\" is no device"),
            ("/dev/../etc/passwd", "\"/dev/../etc/passwd\" is no device"),
            ("char-", "\"char-\" is no device"),
            (
                "/dev/null x",
                "\"x\" is no access: r reads, w writes, m makes the node",
            ),
            (
                "/dev/null r w",
                "a rule about devices is a device and then its access, \"/dev/null r w\" has more words",
            ),
        ] {
            assert_eq!(parse_device_rule(text).unwrap_err().to_string(), why);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            parse_device_rule(&text).ok();
        }
    }
}
