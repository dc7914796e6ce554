//! A table of nftables as data, and the messages that turn one into another. Pure.
//!
//! Source: `linux/netfilter/nf_tables.h` and `nfnetlink.h` of Linux 6.18. Everything is one batch, which
//! the kernel takes whole or not at all. Numbers are big-endian, but for values that a register of the
//! kernel has in its own order.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

/// herd's table in both families: what is routed, and what passes a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tables {
    pub(crate) inet: Table,
    pub(crate) bridge: Table,
}

impl Tables {
    fn both(&self) -> [(u8, &Table); 2] {
        [(INET, &self.inet), (BRIDGE, &self.bridge)]
    }
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Table {
    pub(crate) sets: BTreeMap<&'static str, Set>,
    pub(crate) chains: BTreeMap<String, Chain>,
}

/// Keys, each with what it leads to where the set is a map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Set {
    /// Bytes.
    pub(crate) key_length: u32,
    /// What `nft list` shows keys as (`datatype.h` of nftables): nothing to the kernel.
    pub(crate) key_type: u32,
    pub(crate) kind: Kind,
    pub(crate) elements: BTreeMap<Vec<u8>, Option<Target>>,
}

/// What the keys of a set lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Nothing: they are in it, or are not.
    #[default]
    Set,
    Verdicts,
    /// Values of this kind and so many bytes.
    Values(u32, u32),
}

/// What one key leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Chain(String),
    Value(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Chain {
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Vec<Expression>>,
}

/// Where packets enter a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) kind: &'static str,
    /// `NF_INET_*`.
    pub(crate) hook: u32,
    pub(crate) priority: i32,
}

pub(crate) const PREROUTING: u32 = 0;
pub(crate) const INPUT: u32 = 1;
pub(crate) const FORWARD: u32 = 2;
pub(crate) const OUTPUT: u32 = 3;
pub(crate) const POSTROUTING: u32 = 4;

/// The kinds of keys, by nftables' own numbers.
pub(crate) const IPV4_ADDRESS: u32 = 7;
pub(crate) const IPV6_ADDRESS: u32 = 8;
pub(crate) const INTERFACE_NAME: u32 = 41;
pub(crate) const HARDWARE_ADDRESS: u32 = 9;
pub(crate) const PROTOCOL: u32 = 12;
pub(crate) const PORT: u32 = 13;
/// One kind behind the other.
pub(crate) const fn pair(first: u32, second: u32) -> u32 {
    first << 6 | second
}

/// One step of a rule. Loads go to the register given; comparisons end the rule where they fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    Meta {
        key: u32,
        to: Register,
    },
    Payload {
        of: Header,
        offset: u32,
        length: u32,
        to: Register,
    },
    Connection {
        key: u32,
        to: Register,
    },
    /// What the first packet of the connection had, before anything of it was changed.
    Original {
        key: u32,
        to: Register,
    },
    /// The kind of the packet's address: `RTN_*`.
    AddressKind {
        source: bool,
        to: Register,
    },
    Mask {
        register: Register,
        mask: Vec<u8>,
    },
    Compare {
        from: Register,
        equal: bool,
        with: Vec<u8>,
    },
    Range {
        from: Register,
        first: Vec<u8>,
        last: Vec<u8>,
    },
    /// Ends the rule where the key is not in the map; its value goes to the register given.
    Mapped {
        map: &'static str,
        from: Register,
        to: Register,
    },
    /// Ends the rule where the key is not in the set, or is `inverted`; a map's verdict is passed.
    Lookup {
        set: &'static str,
        from: Register,
        inverted: bool,
        verdict: bool,
    },
    Value {
        to: Register,
        value: Vec<u8>,
    },
    Verdict(Verdict),
    /// To the address in the first register, and to the port in the second.
    Destination {
        ipv6: bool,
        address: Register,
        port: Option<Register>,
    },
    Masquerade,
    /// Ends the rule as long as there are fewer packets than this in a second, or bytes.
    Over {
        rate: u64,
        burst: u32,
        bytes: bool,
    },
    /// ICMP's "administratively prohibited", of either family.
    Reject,
}

/// `NFT_PAYLOAD_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    Link = 0,
    Network = 1,
    Transport = 2,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
}

/// `NFT_REG_1` and on, 16 bytes each; and `NFT_REG32_01`, the four bytes behind the first four of
/// `NFT_REG_1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    One,
    Two,
    /// Behind four bytes in the first, as of an IPv4 address.
    OneBehind4,
}

impl Register {
    fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            // NFT_REG32_00 is 8.
            Self::OneBehind4 => 9,
        }
    }
}

pub(crate) const META_ETHER_TYPE: u32 = 1;
pub(crate) const META_IIFNAME: u32 = 6;
pub(crate) const META_OIFNAME: u32 = 7;
pub(crate) const META_FAMILY: u32 = 15;
pub(crate) const META_PROTOCOL: u32 = 16;
pub(crate) const CONNECTION_STATE: u32 = 0;
pub(crate) const CONNECTION_STATUS: u32 = 2;
pub(crate) const CONNECTION_PORT: u32 = 12;
pub(crate) const CONNECTION_TO4: u32 = 20;
pub(crate) const CONNECTION_TO6: u32 = 22;

/// A name as the kernel compares names of interfaces: 16 bytes, the rest NUL.
pub(crate) fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(libc::IFNAMSIZ, 0);
    bytes
}

pub(crate) const TABLE: &str = "herd";
/// `NFPROTO_INET`: IPv4 and IPv6.
pub(crate) const INET: u8 = 1;
pub(crate) const BRIDGE: u8 = 7;
pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
pub(crate) const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
pub(crate) const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
pub(crate) const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
pub(crate) const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// What our batches count from. The kernel tells everybody who listens the number of the batch that changed something, and
/// nobody else begins here ("herd").
const FIRST: u32 = 0x6865_7264;
const MOST: u32 = 1 << 16;

/// Claims that a batch with a message of this number is one of ours.
pub(crate) fn is_ours(sequence: u32) -> bool {
    (FIRST..FIRST + MOST).contains(&sequence)
}

/// A batch as it is sent.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// The number of the last message that changes something, whose answer ends the wait.
    pub(crate) last: u32,
    sequence: u32,
    /// Where that message begins.
    last_start: usize,
    /// Of the table that messages are about.
    family: u8,
}

/// Turns what is in the kernel, which is `before`, into `after`. `None` when they are the same.
pub(crate) fn change(before: &Tables, after: &Tables) -> Option<Batch> {
    if before == after {
        return None;
    }
    let mut batch = Batch::default();
    batch.begin();
    for ((family, before), (_, after)) in before.both().into_iter().zip(after.both()) {
        batch.family = family;
        batch.difference(before, after);
    }
    Some(batch.end())
}

/// Makes the tables anew, whatever is there.
pub(crate) fn replace(after: &Tables) -> Batch {
    let mut batch = Batch::default();
    batch.begin();
    for (family, table) in after.both() {
        batch.family = family;
        batch.table(NEWTABLE, CREATE);
        batch.table(DELTABLE, 0);
        batch.table(NEWTABLE, CREATE);
        batch.difference(&Table::default(), table);
    }
    batch.end()
}

/// Makes the tables, which must not be there. As nothing has to be taken out, closing the socket waits for nothing.
pub(crate) fn create(after: &Tables) -> Batch {
    let mut batch = Batch::default();
    batch.begin();
    for (family, table) in after.both() {
        batch.family = family;
        batch.table(NEWTABLE, CREATE | EXCLUSIVE);
        batch.difference(&Table::default(), table);
    }
    batch.end()
}

/// Takes the tables away, if they are there.
pub(crate) fn remove() -> Batch {
    let mut batch = Batch::default();
    batch.begin();
    for family in [INET, BRIDGE] {
        batch.family = family;
        batch.table(NEWTABLE, CREATE);
        batch.table(DELTABLE, 0);
    }
    batch.end()
}

impl Batch {
    fn begin(&mut self) {
        self.sequence = FIRST;
        self.message(
            NFNL_MSG_BATCH_BEGIN,
            REQUEST,
            0,
            NFNL_SUBSYS_NFTABLES,
            |_| {},
        );
    }

    fn end(mut self) -> Self {
        self.last = self.sequence;
        // What is refused is told unasked; of what is done one answer is enough, and many do not fit in the
        // kernel's queue.
        if let Some(flags) = self.bytes.get_mut(self.last_start + 6..self.last_start + 8) {
            let asked = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
            flags.copy_from_slice(&asked.to_ne_bytes());
        }
        self.message(NFNL_MSG_BATCH_END, REQUEST, 0, NFNL_SUBSYS_NFTABLES, |_| {});
        self
    }

    /// Chains before what jumps to them, and the other way round on the way out.
    fn difference(&mut self, before: &Table, after: &Table) {
        for (name, chain) in &after.chains {
            if !before.chains.contains_key(name) {
                self.new_chain(name, chain.base);
            }
        }
        for (name, set) in &after.sets {
            if !before.sets.contains_key(name) {
                self.new_set(name, set);
            }
        }
        for (name, chain) in &after.chains {
            let old = before.chains.get(name).map(|old| &old.rules);
            if old == Some(&chain.rules) {
                continue;
            }
            if old.is_some_and(|rules| !rules.is_empty()) {
                self.of_chain(DELRULE, 0, name);
            }
            for rule in &chain.rules {
                self.rule(name, rule);
            }
        }
        let nothing = BTreeMap::new();
        for (name, set) in &after.sets {
            let old = before.sets.get(name).map_or(&nothing, |old| &old.elements);
            let gone = old
                .iter()
                .filter(|(key, to)| set.elements.get(*key) != Some(to));
            self.elements(DELSETELEM, 0, name, gone);
            let new = set
                .elements
                .iter()
                .filter(|(key, to)| old.get(*key) != Some(to));
            self.elements(NEWSETELEM, CREATE, name, new);
        }
        for (name, chain) in &before.chains {
            if !after.chains.contains_key(name) {
                if !chain.rules.is_empty() {
                    self.of_chain(DELRULE, 0, name);
                }
                self.chain_by_name(DELCHAIN, name);
            }
        }
    }

    fn table(&mut self, what: u16, flags: u16) {
        self.change(what, flags, |bytes| string(bytes, 1, TABLE));
    }

    fn new_chain(&mut self, name: &str, base: Option<Base>) {
        self.change(NEWCHAIN, CREATE, |bytes| {
            string(bytes, 1, TABLE);
            string(bytes, 3, name);
            if let Some(base) = base {
                nest(bytes, 4, |bytes| {
                    number(bytes, 1, base.hook);
                    number(bytes, 2, base.priority.cast_unsigned());
                });
                string(bytes, 7, base.kind);
            }
        });
    }

    fn chain_by_name(&mut self, what: u16, name: &str) {
        self.change(what, 0, |bytes| {
            string(bytes, 1, TABLE);
            string(bytes, 3, name);
        });
    }

    /// All rules of a chain.
    fn of_chain(&mut self, what: u16, flags: u16, name: &str) {
        self.change(what, flags, |bytes| {
            string(bytes, 1, TABLE);
            string(bytes, 2, name);
        });
    }

    fn rule(&mut self, chain: &str, expressions: &[Expression]) {
        self.change(NEWRULE, CREATE | APPEND, |bytes| {
            string(bytes, 1, TABLE);
            string(bytes, 2, chain);
            nest(bytes, 4, |bytes| {
                for one in expressions {
                    nest(bytes, 1, |bytes| one.write(bytes));
                }
            });
        });
    }

    fn new_set(&mut self, name: &str, set: &Set) {
        // The kernel wants a number for each set of a batch; the names tell them apart.
        let id = self.sequence;
        self.change(NEWSET, CREATE, |bytes| {
            string(bytes, 1, TABLE);
            string(bytes, 2, name);
            const MAP: u32 = 8;
            const VERDICTS: u32 = 0xffff_ff00;
            let leads_to = match set.kind {
                Kind::Set => None,
                Kind::Verdicts => Some((VERDICTS, 16)),
                Kind::Values(kind, length) => Some((kind, length)),
            };
            if leads_to.is_some() {
                number(bytes, 3, MAP);
            }
            number(bytes, 4, set.key_type);
            number(bytes, 5, set.key_length);
            if let Some((kind, length)) = leads_to {
                number(bytes, 6, kind);
                number(bytes, 7, length);
            }
            number(bytes, 10, id);
            if set.key_type == INTERFACE_NAME {
                // NFTNL_UDATA_SET_KEYBYTEORDER: the host's own, so that `nft list` shows names.
                let [a, b, c, d] = 1u32.to_ne_bytes();
                attribute(bytes, 13, &[0, 4, a, b, c, d]);
            }
        });
    }

    fn elements<'a>(
        &mut self,
        what: u16,
        flags: u16,
        set: &str,
        elements: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Target>)>,
    ) {
        // An attribute has 64 KiB at most.
        const AT_ONCE: usize = 256;
        let elements: Vec<_> = elements.collect();
        for part in elements.chunks(AT_ONCE) {
            self.change(what, flags, |bytes| {
                string(bytes, 1, TABLE);
                string(bytes, 2, set);
                nest(bytes, 3, |bytes| {
                    for (key, to) in part {
                        nest(bytes, 1, |bytes| {
                            nest(bytes, 1, |bytes| attribute(bytes, 1, key));
                            match to {
                                None => {}
                                Some(Target::Chain(chain)) => {
                                    let jump = Verdict::Jump(chain.clone());
                                    nest(bytes, 2, |bytes| verdict(bytes, &jump));
                                }
                                Some(Target::Value(data)) => value(bytes, 2, data),
                            }
                        });
                    }
                });
            });
        }
    }

    fn change(&mut self, what: u16, flags: u16, content: impl FnOnce(&mut Vec<u8>)) {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | what;
        self.last_start = self.bytes.len();
        self.message(kind, REQUEST | flags, self.family, 0, content);
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        content: impl FnOnce(&mut Vec<u8>),
    ) {
        self.sequence += 1;
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        content(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// `struct nlattr` and what it holds, filled up to four bytes.
pub(crate) fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

pub(crate) fn string(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    attribute(bytes, kind, &value);
}

fn number(bytes: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(bytes, kind, &value.to_be_bytes());
}

fn long(bytes: &mut Vec<u8>, kind: u16, value: u64) {
    attribute(bytes, kind, &value.to_be_bytes());
}

pub(crate) fn nest(bytes: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
    const NESTED: u16 = 0x8000;
    let start = bytes.len();
    bytes.extend([0; 4]);
    content(bytes);
    let length = u16::try_from(bytes.len() - start).unwrap_or(u16::MAX);
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
}

fn value(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    nest(bytes, kind, |bytes| attribute(bytes, 1, value));
}

fn verdict(bytes: &mut Vec<u8>, verdict: &Verdict) {
    const DROP: u32 = 0;
    const ACCEPT: u32 = 1;
    const RETURN: i32 = -5;
    const JUMP: i32 = -3;
    nest(bytes, 2, |bytes| match verdict {
        Verdict::Drop => number(bytes, 1, DROP),
        Verdict::Accept => number(bytes, 1, ACCEPT),
        Verdict::Return => number(bytes, 1, RETURN.cast_unsigned()),
        Verdict::Jump(chain) => {
            number(bytes, 1, JUMP.cast_unsigned());
            string(bytes, 2, chain);
        }
    });
}

/// The usual ones: by the first register.
impl Expression {
    pub(crate) fn meta(key: u32) -> Self {
        let to = Register::One;
        Self::Meta { key, to }
    }

    pub(crate) fn load(of: Header, offset: u32, length: u32) -> Self {
        let to = Register::One;
        Self::Payload {
            of,
            offset,
            length,
            to,
        }
    }

    pub(crate) fn mask(mask: Vec<u8>) -> Self {
        let register = Register::One;
        Self::Mask { register, mask }
    }

    pub(crate) fn is(value: &[u8]) -> Self {
        Self::compare(true, value)
    }

    pub(crate) fn is_not(value: &[u8]) -> Self {
        Self::compare(false, value)
    }

    fn compare(equal: bool, with: &[u8]) -> Self {
        Self::Compare {
            from: Register::One,
            equal,
            with: with.to_vec(),
        }
    }

    pub(crate) fn is_in(set: &'static str) -> Self {
        Self::lookup(set, false, false)
    }

    pub(crate) fn is_not_in(set: &'static str) -> Self {
        Self::lookup(set, true, false)
    }

    /// To the chain that the map has for it.
    pub(crate) fn by_map(set: &'static str) -> Self {
        Self::lookup(set, false, true)
    }

    fn lookup(set: &'static str, inverted: bool, verdict: bool) -> Self {
        let from = Register::One;
        Self::Lookup {
            set,
            from,
            inverted,
            verdict,
        }
    }

    pub(crate) fn accept() -> Self {
        Self::Verdict(Verdict::Accept)
    }

    pub(crate) fn dropped() -> Self {
        Self::Verdict(Verdict::Drop)
    }

    pub(crate) fn back() -> Self {
        Self::Verdict(Verdict::Return)
    }
}

impl Expression {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Meta { key, to } => named(bytes, "meta", |bytes| {
                number(bytes, 1, to.number());
                number(bytes, 2, *key);
            }),
            Self::Payload {
                of,
                offset,
                length,
                to,
            } => named(bytes, "payload", |bytes| {
                number(bytes, 1, to.number());
                number(bytes, 2, *of as u32);
                number(bytes, 3, *offset);
                number(bytes, 4, *length);
            }),
            Self::Connection { key, to } => named(bytes, "ct", |bytes| {
                number(bytes, 1, to.number());
                number(bytes, 2, *key);
            }),
            Self::Original { key, to } => named(bytes, "ct", |bytes| {
                number(bytes, 1, to.number());
                number(bytes, 2, *key);
                // NFTA_CT_DIRECTION, IP_CT_DIR_ORIGINAL.
                attribute(bytes, 3, &[0]);
            }),
            Self::AddressKind { source, to } => named(bytes, "fib", |bytes| {
                number(bytes, 1, to.number());
                number(bytes, 2, 3);
                number(bytes, 3, if *source { 1 } else { 2 });
            }),
            Self::Mask { register, mask } => named(bytes, "bitwise", |bytes| {
                number(bytes, 1, register.number());
                number(bytes, 2, register.number());
                number(bytes, 3, u32::try_from(mask.len()).unwrap_or(0));
                value(bytes, 4, mask);
                value(bytes, 5, &vec![0; mask.len()]);
            }),
            Self::Compare { from, equal, with } => named(bytes, "cmp", |bytes| {
                number(bytes, 1, from.number());
                number(bytes, 2, u32::from(!equal));
                value(bytes, 3, with);
            }),
            Self::Range { from, first, last } => named(bytes, "range", |bytes| {
                number(bytes, 1, from.number());
                number(bytes, 2, 0);
                value(bytes, 3, first);
                value(bytes, 4, last);
            }),
            Self::Mapped { map, from, to } => named(bytes, "lookup", |bytes| {
                string(bytes, 1, map);
                number(bytes, 2, from.number());
                number(bytes, 3, to.number());
            }),
            Self::Lookup {
                set,
                from,
                inverted,
                verdict,
            } => named(bytes, "lookup", |bytes| {
                string(bytes, 1, set);
                number(bytes, 2, from.number());
                if *verdict {
                    number(bytes, 3, 0);
                }
                if *inverted {
                    number(bytes, 5, 1);
                }
            }),
            Self::Value { to, value: loaded } => named(bytes, "immediate", |bytes| {
                number(bytes, 1, to.number());
                value(bytes, 2, loaded);
            }),
            Self::Verdict(given) => named(bytes, "immediate", |bytes| {
                number(bytes, 1, 0);
                nest(bytes, 2, |bytes| verdict(bytes, given));
            }),
            Self::Destination {
                ipv6,
                address,
                port,
            } => named(bytes, "nat", |bytes| {
                number(bytes, 1, 1);
                number(bytes, 2, if *ipv6 { 10 } else { 2 });
                number(bytes, 3, address.number());
                if let Some(port) = port {
                    number(bytes, 5, port.number());
                }
            }),
            Self::Masquerade => named(bytes, "masq", |_| {}),
            Self::Over {
                rate,
                burst,
                bytes: of_bytes,
            } => named(bytes, "limit", |bytes| {
                long(bytes, 1, *rate);
                long(bytes, 2, 1);
                number(bytes, 3, *burst);
                number(bytes, 4, u32::from(*of_bytes));
                number(bytes, 5, 1);
            }),
            Self::Reject => named(bytes, "reject", |bytes| {
                number(bytes, 1, 2);
                attribute(bytes, 2, &[3]);
            }),
        }
    }
}

fn named(bytes: &mut Vec<u8>, name: &str, content: impl FnOnce(&mut Vec<u8>)) {
    string(bytes, 1, name);
    nest(bytes, 2, content);
}
