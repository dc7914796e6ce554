//! Specifiers (`%i`, `%n`, `%h` …), as systemd.unit(5) has them.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::name::UnitName;

/// What the machine and the user of this herd are: the part of the specifiers that no unit decides.
/// An empty field is a fact this machine does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// `%H`; `%l` is its part before the first dot
    pub host_name: String,
    /// `%q`
    pub pretty_host_name: String,
    /// `%m`
    pub machine_id: String,
    /// `%b`
    pub boot_id: String,
    /// `%v`
    pub kernel_release: String,
    /// `%a`, as `uname -m` without systemd's spelling: `x86-64`, `arm64`, `riscv64`
    pub architecture: String,
    /// `%o %w %W %B %M %A`: `ID VERSION_ID VARIANT_ID BUILD_ID IMAGE_ID IMAGE_VERSION`
    pub os: [String; 6],
    /// `%u %U %g %G %h %s`
    pub user: String,
    pub uid: String,
    pub group: String,
    pub gid: String,
    pub home: String,
    pub shell: String,
    /// `%t %S %C %L %E %D`: the bases of `runtime_directory` and its kin, and shared data
    pub runtime: String,
    pub state: String,
    pub cache: String,
    pub logs: String,
    pub configuration: String,
    pub shared_data: String,
    /// `%T %V`
    pub temporary: String,
    pub lasting_temporary: String,
}

impl Facts {
    /// The directories of a herd that serves the machine; nothing else is known.
    pub fn of_the_system() -> Self {
        Self {
            user: "root".to_owned(),
            uid: "0".to_owned(),
            group: "root".to_owned(),
            gid: "0".to_owned(),
            home: "/root".to_owned(),
            shell: "/bin/sh".to_owned(),
            runtime: "/run".to_owned(),
            state: "/var/lib".to_owned(),
            cache: "/var/cache".to_owned(),
            logs: "/var/log".to_owned(),
            configuration: "/etc".to_owned(),
            shared_data: "/usr/share".to_owned(),
            temporary: "/tmp".to_owned(),
            lasting_temporary: "/var/tmp".to_owned(),
            ..Self::default()
        }
    }
}

/// What specifiers stand for in one unit.
#[derive(Debug, Clone, Copy)]
pub struct Specifiers<'a> {
    pub name: &'a UnitName,
    /// The unit's own file: `%y`, and `%Y` its directory.
    pub file: &'a str,
    pub facts: &'a Facts,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecifierError {
    #[error("unknown specifier %{0}")]
    Unknown(char),
    #[error("the specifier %{0} is not supported yet; it comes with {1}")]
    NotYet(char, &'static str),
    #[error("a lone % at the end")]
    Lone,
    #[error("this machine does not tell what %{0} stands for")]
    Untold(char),
    #[error("%{0} unescapes to no text")]
    NotText(char),
}

impl Specifiers<'_> {
    /// # Errors
    /// [`SpecifierError`] names the first specifier that stands for nothing.
    pub fn expand<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, SpecifierError> {
        if !text.contains('%') {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::with_capacity(text.len() + 16);
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let letter = rest.next().ok_or(SpecifierError::Lone)?;
            out.push_str(&self.value(letter)?);
        }
        Ok(Cow::Owned(out))
    }

    fn value(&self, letter: char) -> Result<Cow<'_, str>, SpecifierError> {
        let facts = self.facts;
        let told = |fact: &'_ str| match fact.is_empty() {
            true => Err(SpecifierError::Untold(letter)),
            false => Ok(Cow::Owned(fact.to_owned())),
        };
        let unescaped = |text: &str| {
            unescape(text)
                .map(Cow::Owned)
                .ok_or(SpecifierError::NotText(letter))
        };
        let instance = self.name.instance().unwrap_or_default();
        match letter {
            '%' => Ok(Cow::Borrowed("%")),
            'n' | 'N' => Ok(Cow::Borrowed(self.name.as_str())),
            'p' => Ok(Cow::Borrowed(self.name.prefix())),
            'P' => unescaped(self.name.prefix()),
            'i' => Ok(Cow::Borrowed(instance)),
            'I' => unescaped(instance),
            'j' => Ok(Cow::Borrowed(last_component(self.name.prefix()))),
            'J' => unescaped(last_component(self.name.prefix())),
            'f' => {
                let named = match instance {
                    "" => self.name.prefix(),
                    instance => instance,
                };
                let path = unescaped(named)?;
                Ok(match path.starts_with('/') {
                    true => path,
                    false => Cow::Owned(format!("/{path}")),
                })
            }
            'y' => told(self.file),
            'Y' => told(self.file.rsplit_once('/').map_or("", |(parent, _)| parent)),
            'H' => told(&facts.host_name),
            'l' => told(facts.host_name.split('.').next().unwrap_or_default()),
            'q' => match facts.pretty_host_name.as_str() {
                "" => told(&facts.host_name),
                pretty => told(pretty),
            },
            'm' => told(&facts.machine_id),
            'b' => told(&facts.boot_id),
            'v' => told(&facts.kernel_release),
            'a' => told(&facts.architecture),
            // As in systemd, what os-release leaves out is empty.
            'o' | 'w' | 'W' | 'B' | 'M' | 'A' => {
                let position = "owWBMA".find(letter).unwrap_or_default();
                Ok(Cow::Owned(facts.os[position].clone()))
            }
            'u' => told(&facts.user),
            'U' => told(&facts.uid),
            'g' => told(&facts.group),
            'G' => told(&facts.gid),
            'h' => told(&facts.home),
            's' => told(&facts.shell),
            't' => told(&facts.runtime),
            'S' => told(&facts.state),
            'C' => told(&facts.cache),
            'L' => told(&facts.logs),
            'E' => told(&facts.configuration),
            'D' => told(&facts.shared_data),
            'T' => told(&facts.temporary),
            'V' => told(&facts.lasting_temporary),
            'd' => Err(SpecifierError::NotYet('d', "credentials")),
            other => Err(SpecifierError::Unknown(other)),
        }
    }
}

fn last_component(prefix: &str) -> &str {
    prefix.rsplit('-').next().unwrap_or(prefix)
}

/// `systemd-escape --unescape`: `-` is `/`, `\xNN` a byte. `None` when the bytes are no UTF-8 or
/// hold a zero byte.
pub fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        if let Some(hex) = rest.strip_prefix("\\x").and_then(|after| after.get(..2)) {
            bytes.push(u8::from_str_radix(hex, 16).ok().filter(|byte| *byte != 0)?);
            rest = rest.get(4..)?;
            continue;
        }
        bytes.push(if first == b'-' { b'/' } else { first });
        rest = rest.get(1..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expand(name: &str, text: &str) -> Result<String, SpecifierError> {
        let facts = Facts {
            host_name: "box.example.org".to_owned(),
            ..Facts::of_the_system()
        };
        let name = UnitName::new(name).unwrap();
        let specifiers = Specifiers {
            name: &name,
            file: "/etc/herd/enabled/web.toml",
            facts: &facts,
        };
        specifiers.expand(text).map(Cow::into_owned)
    }

    #[test]
    fn names_and_instances_expand() {
        let shown = expand("my-web@dev-sda1", "%n %p %i %I %j %f %%").unwrap();
        assert_eq!(
            shown,
            "my-web@dev-sda1 my-web dev-sda1 dev/sda1 web /dev/sda1 %"
        );
        assert_eq!(expand("web", "[%i]").unwrap(), "[]");
        assert_eq!(expand("a@x\\x2dy", "%I").unwrap(), "x-y");
    }

    #[test]
    fn places_and_people_expand() {
        assert_eq!(
            expand("web", "%t/%S/%C/%L/%E %u %U %h %l").unwrap(),
            "/run//var/lib//var/cache//var/log//etc root 0 /root box"
        );
        assert_eq!(expand("web", "%Y").unwrap(), "/etc/herd/enabled");
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        assert_eq!(expand("web", "%z"), Err(SpecifierError::Unknown('z')));
        assert_eq!(
            expand("web", "%d/key").unwrap_err().to_string(),
            "the specifier %d is not supported yet; it comes with credentials"
        );
        assert_eq!(expand("web", "50%"), Err(SpecifierError::Lone));
        assert_eq!(expand("web", "%m"), Err(SpecifierError::Untold('m')));
        assert_eq!(expand("a@\\xff", "%I"), Err(SpecifierError::NotText('I')));
    }

    proptest! {
        #[test]
        fn doubled_percent_signs_read_back(text in "\\PC*") {
            prop_assert_eq!(expand("web", &text.replace('%', "%%")), Ok(text));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", instance in "[a-z\\\\x0-9-]{1,12}") {
            drop(expand(&format!("a@{instance}"), &text));
            drop(unescape(&text));
        }
    }
}
