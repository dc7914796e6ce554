//! What tables of nftables look like in messages, ours to the kernel or the kernel's to us, so that the two can be compared.
//! Pure.
//!
//! Source: `linux/netfilter/nf_tables.h` of Linux 6.18. The kernel adds to what it was told (handles, counts, defaults), so
//! one is found in the other rather than equal to it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::netlink::{Frame, attributes, frames};
use super::nft::{
    self, BRIDGE, FORWARD, INET, NEWCHAIN, NEWRULE, NEWSETELEM, NEWTABLE, NFNL_SUBSYS_NFTABLES,
    POSTROUTING, TABLE,
};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;

/// `NFPROTO_*`.
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// A chain or a set: its family, and its name as it is sent.
type Name = (u8, Vec<u8>);

/// The tables `herd` of both families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Picture {
    /// The flags of each; one of them puts a table to sleep.
    tables: BTreeMap<u8, Vec<u8>>,
    chains: BTreeMap<Name, Option<Hooked>>,
    /// The expressions of each rule, as they are sent.
    rules: BTreeMap<Name, Vec<Vec<u8>>>,
    elements: BTreeMap<Name, BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// Where packets enter a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Hooked {
    hook: Vec<u8>,
    priority: Vec<u8>,
    kind: Vec<u8>,
    drops: bool,
}

impl Picture {
    /// What a batch of ours makes.
    pub(crate) fn of(batch: &[u8]) -> Self {
        let mut picture = Self::default();
        for frame in frames(batch).flatten() {
            picture.add(&frame);
        }
        picture
    }

    /// What one message says of a table of ours; others are passed over.
    pub(crate) fn add(&mut self, frame: &Frame<'_>) {
        if !is_of_herds_table(frame) {
            return;
        }
        let Some((what, family, body)) = of_nftables(frame) else {
            return;
        };
        let named = |kind: u16| (family, attribute(body, kind).unwrap_or_default().to_vec());
        match what {
            NEWTABLE => {
                let flags = attribute(body, 2).unwrap_or_default();
                let none = flags.iter().all(|byte| *byte == 0);
                let flags = if none { Vec::new() } else { flags.to_vec() };
                self.tables.insert(family, flags);
            }
            NEWCHAIN => {
                self.chains.insert(named(3), hooked(body));
            }
            NEWRULE => {
                let rule = attribute(body, 4).unwrap_or_default().to_vec();
                self.rules.entry(named(2)).or_default().push(rule);
            }
            NEWSETELEM => {
                let set = self.elements.entry(named(2)).or_default();
                for (_, element) in attributes(attribute(body, 3).unwrap_or_default()) {
                    let key = attribute(element, 1).unwrap_or_default();
                    let data = attribute(element, 2).unwrap_or_default();
                    set.insert(key.to_vec(), data.to_vec());
                }
            }
            _ => {}
        }
    }

    /// Claims that this, which the kernel says, is all that was `wanted` and no more.
    pub(crate) fn shows(&self, wanted: &Self) -> bool {
        let same_elements = |(set, wanted): (&Name, &BTreeMap<Vec<u8>, Vec<u8>>)| {
            let found = self.elements.get(set);
            wanted.len() == found.map_or(0, BTreeMap::len)
                && wanted.iter().all(|(key, to)| {
                    let found = found.and_then(|found| found.get(key));
                    found.is_some_and(|found| contains(found, to, DEPTH))
                })
        };
        let same_rules = |(chain, wanted): (&Name, &Vec<Vec<u8>>)| {
            let found = self.rules.get(chain).map_or(&[][..], Vec::as_slice);
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| same_list(found, wanted))
        };
        let of_none = |(name, rules): (&Name, &Vec<Vec<u8>>)| {
            rules.is_empty() || wanted.rules.contains_key(name)
        };
        let empty = |(name, elements): (&Name, &BTreeMap<Vec<u8>, Vec<u8>>)| {
            elements.is_empty() || wanted.elements.contains_key(name)
        };
        self.tables == wanted.tables
            && self.chains == wanted.chains
            && wanted.rules.iter().all(same_rules)
            && self.rules.iter().all(of_none)
            && wanted.elements.iter().all(same_elements)
            && self.elements.iter().all(empty)
    }

    /// Kinds and contents of the dumps that show what this shows.
    pub(crate) fn questions(&self) -> Vec<(u16, Vec<u8>)> {
        let mut questions = Vec::new();
        for family in [INET, BRIDGE] {
            questions.push((kind(GETTABLE), about(family, &[])));
            questions.push((kind(GETCHAIN), about(family, &[])));
            questions.push((kind(GETRULE), about(family, &[(1, &name(TABLE))])));
        }
        for (family, set) in self.elements.keys() {
            let named = [(1, &name(TABLE)[..]), (2, set)];
            questions.push((kind(GETSETELEM), about(*family, &named)));
        }
        questions
    }
}

/// The dump of all chains of everybody.
pub(crate) fn all_chains() -> (u16, Vec<u8>) {
    (kind(GETCHAIN), about(0, &[]))
}

/// Claims that a message of that dump tells of a chain that changes sources of what leaves, in a table that is not ours.
pub(crate) fn is_anothers_nat(frame: &Frame<'_>) -> bool {
    let Some((NEWCHAIN, _, body)) = of_nftables(frame) else {
        return false;
    };
    attribute(body, 1) != Some(&name(TABLE))
        && hooked(body)
            .is_some_and(|base| base.kind == name("nat") && base.hook == POSTROUTING.to_be_bytes())
}

/// The chain that a message of that dump tells of, where it lets nothing be forwarded but what its rules name, and is in a
/// table that is not ours.
pub(crate) fn anothers_refusal(frame: &Frame<'_>) -> Option<String> {
    let Some((NEWCHAIN, family, body)) = of_nftables(frame) else {
        return None;
    };
    let family = match family {
        INET => "inet",
        IPV4 => "ip",
        IPV6 => "ip6",
        _ => return None,
    };
    let base = hooked(body)?;
    let refuses = base.drops && base.kind == name("filter") && base.hook == FORWARD.to_be_bytes();
    let (table, chain) = (attribute(body, 1)?, attribute(body, 3)?);
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.trim_end_matches('\0').to_owned()
    };
    (refuses && table != name(TABLE))
        .then(|| format!("chain {} of table {family} {}", text(chain), text(table)))
}

/// Claims that a message tells of something in a table of ours.
pub(crate) fn is_of_herds_table(frame: &Frame<'_>) -> bool {
    of_nftables(frame).is_some_and(|(_, family, body)| {
        [INET, BRIDGE].contains(&family) && attribute(body, 1) == Some(&name(TABLE))
    })
}

/// What a message of nftables is about, its family, and what follows `struct nfgenmsg`.
pub(crate) fn of_nftables<'a>(frame: &Frame<'a>) -> Option<(u16, u8, &'a [u8])> {
    let (family, body) = (frame.content.first()?, frame.content.get(4..)?);
    (frame.kind >> 8 == NFNL_SUBSYS_NFTABLES).then_some((frame.kind & 0xff, *family, body))
}

pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = attributes(bytes);
    all.find_map(|(found, value)| (found == kind).then_some(value))
}

fn hooked(body: &[u8]) -> Option<Hooked> {
    let hook = attribute(body, 4)?;
    let part = |bytes, kind| attribute(bytes, kind).unwrap_or_default().to_vec();
    Some(Hooked {
        hook: part(hook, 1),
        priority: part(hook, 2),
        kind: part(body, 7),
        drops: attribute(body, 5).is_some_and(|policy| policy.iter().all(|byte| *byte == 0)),
    })
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn kind(what: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | what
}

fn about(family: u8, named: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![family, 0, 0, 0];
    for (kind, value) in named {
        nft::attribute(&mut bytes, *kind, value);
    }
    bytes
}

/// So deep are our own messages nested, and no deeper is looked.
const DEPTH: u32 = 6;

/// Expressions in their order, each with all that is wanted of it.
fn same_list(found: &[u8], wanted: &[u8]) -> bool {
    let (mut found, mut wanted) = (attributes(found), attributes(wanted));
    loop {
        match (found.next(), wanted.next()) {
            (None, None) => return true,
            (Some((_, found)), Some((_, wanted))) if contains(found, wanted, DEPTH) => {}
            _ => return false,
        }
    }
}

/// Claims that every attribute of `wanted` is in `found`, at all depths.
fn contains(found: &[u8], wanted: &[u8], depth: u32) -> bool {
    if found == wanted {
        return true;
    }
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    is_nested(wanted)
        && attributes(wanted).all(|(kind, wanted)| {
            attribute(found, kind).is_some_and(|found| contains(found, wanted, depth))
        })
}

/// Claims that these bytes are attributes and nothing else.
fn is_nested(bytes: &[u8]) -> bool {
    let whole: usize = attributes(bytes)
        .map(|(_, value)| (value.len() + 4).next_multiple_of(4))
        .sum();
    !bytes.is_empty() && whole == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Access, Interface, PrivateNetwork, Verdict};
    use crate::network::rules;
    use crate::network::state::{Around, State};
    use proptest::prelude::*;

    fn wanted() -> Picture {
        let mut state = State::default();
        let network = PrivateNetwork {
            id: "1".into(),
            name: "a".into(),
            interfaces: vec![Interface::on("default")],
            access: vec![Access::parse(Verdict::Deny, "any:80").unwrap()],
            ..PrivateNetwork::default()
        };
        state.add(&network, &Around::default()).unwrap();
        Picture::of(&nft::replace(&rules::tables(&state)).bytes)
    }

    #[test]
    fn whatever_is_missing_or_more_is_seen() {
        let wanted = wanted();
        assert!(wanted.shows(&wanted));
        assert!(!Picture::default().shows(&wanted));
        let chain = (INET, name("out-1"));
        let changes: [fn(&mut Picture, &Name); 6] = [
            |picture, chain| drop(picture.rules.remove(chain)),
            |picture, chain| picture.rules.get_mut(chain).unwrap().reverse(),
            |picture, chain| {
                let rules = picture.rules.get_mut(chain).unwrap();
                rules.push(rules[0].clone());
            },
            |picture, chain| drop(picture.chains.remove(chain)),
            |picture, _| drop(picture.tables.insert(INET, vec![0, 0, 0, 1])),
            |picture, _| drop(picture.elements.remove(&(INET, name("out4")))),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut picture = wanted.clone();
            // Two rules that differ, for an order to be seen.
            change(&mut picture, &chain);
            let is_same = picture == wanted;
            assert!(is_same || !picture.shows(&wanted), "change {number}");
            assert!(!is_same || number == 1, "change {number} changed nothing");
        }
    }

    #[test]
    fn what_the_kernel_adds_is_no_difference() {
        let mut more = Vec::new();
        nft::attribute(&mut more, 9, &[1, 2, 3, 4]);
        nft::attribute(&mut more, 2, b"x\0");
        let mut less = Vec::new();
        nft::attribute(&mut less, 2, b"x\0");
        assert!(contains(&more, &less, DEPTH));
        assert!(!contains(&less, &more, DEPTH));
    }

    proptest! {
        #[test]
        fn no_message_is_too_odd_to_look_at(
            kind in 0xa00u16..0xa20, content in proptest::collection::vec(any::<u8>(), 0..128),
        ) {
            let frame = Frame { kind, flags: 0, sequence: 0, content: &content };
            let mut picture = Picture::default();
            picture.add(&frame);
            picture.shows(&picture);
            is_anothers_nat(&frame);
            anothers_refusal(&frame);
            contains(&content, &content, DEPTH);
        }
    }
}
