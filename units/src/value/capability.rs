//! Capabilities by name (capabilities(7)).
#![forbid(unsafe_code)]

use sandbox::config::CAPABILITIES as NAMES;

/// The number of `CAP_NET_ADMIN`, `net_admin` and the like.
pub fn parse_capability(text: &str) -> Option<u8> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("cap_").unwrap_or(&lower);
    NAMES
        .iter()
        .position(|known| *known == name)
        .and_then(|number| u8::try_from(number).ok())
}

/// `CAP_NET_ADMIN` for its number.
pub fn capability_name(number: u8) -> Option<String> {
    NAMES
        .get(usize::from(number))
        .map(|name| format!("CAP_{}", name.to_ascii_uppercase()))
}

/// The name that is written most like the text.
pub(crate) fn nearest_capability(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("cap_").unwrap_or(&lower);
    crate::keys::nearest(name, NAMES).map(|near| format!("CAP_{}", near.to_ascii_uppercase()))
}

/// Every capability there is, by number.
pub fn all_capabilities() -> Vec<u8> {
    (0..).take(NAMES.len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_kernel() {
        assert_eq!(parse_capability("CAP_CHOWN"), Some(0));
        assert_eq!(parse_capability("net_bind_service"), Some(10));
        assert_eq!(parse_capability("Cap_Sys_Admin"), Some(21));
        assert_eq!(parse_capability("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(parse_capability("CAP_NOPE"), None);
        for number in all_capabilities() {
            let name = capability_name(number).unwrap();
            assert_eq!(parse_capability(&name), Some(number));
        }
    }
}
