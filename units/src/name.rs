//! The name of a unit.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

/// A checked unit name: the file's name without `.toml`.
///
/// 1 to 200 bytes of ASCII letters, digits and `_ - . : \ @`, not starting with `.` or `-`, with at
/// most one `@`, and not ending in `.slice`. A name therefore never holds a `/`, a newline or a terminal escape.
/// Cloning is cheap: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitName(Arc<str>);

/// Why a text is no unit name. The display says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a unit name cannot be empty")]
    Empty,
    #[error("a unit name has at most 200 bytes, this one has {0}")]
    TooLong(usize),
    #[error("a unit name cannot hold {0:?}; letters, digits and _ - . : \\ @ are allowed")]
    Character(char),
    #[error("a unit name cannot begin with {0:?}")]
    Begin(char),
    #[error("a unit name has at most one @")]
    TwoAt,
    #[error("a unit name cannot end in .slice, which is how groups of units are called")]
    Slice,
}

impl UnitName {
    pub const MAX: usize = 200;

    /// # Errors
    /// [`NameError`] when the text breaks the rule above.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let Some(first) = text.chars().next() else {
            return Err(NameError::Empty);
        };
        if text.len() > Self::MAX {
            return Err(NameError::TooLong(text.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:\\@".contains(c);
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(bad));
        }
        if matches!(first, '.' | '-' | '@') {
            return Err(NameError::Begin(first));
        }
        if text.matches('@').count() > 1 {
            return Err(NameError::TwoAt);
        }
        if text.ends_with(".slice") {
            return Err(NameError::Slice);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `web@.toml`: a template, which cannot be started itself.
    pub fn is_template(&self) -> bool {
        self.0.ends_with('@')
    }

    /// The part before `@`, or the whole name.
    pub fn prefix(&self) -> &str {
        self.0.split('@').next().unwrap_or(&self.0)
    }

    /// The part after `@` of an instance.
    pub fn instance(&self) -> Option<&str> {
        self.0
            .split_once('@')
            .map(|(_, instance)| instance)
            .filter(|i| !i.is_empty())
    }

    /// The instance with that name after the `@`; `None` of what is no template, or when the name
    /// would break the rule.
    pub fn with_instance(&self, instance: &str) -> Option<Self> {
        let name = format!("{self}{instance}");
        Self::new(&name).ok().filter(|_| self.is_template())
    }

    /// The template this instance is made from: `web@` for `web@a`.
    pub fn template(&self) -> Option<Self> {
        self.instance()
            .map(|_| Self(format!("{}@", self.prefix()).into()))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
