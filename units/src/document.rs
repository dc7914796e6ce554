//! A unit's files as one list of known keys: its own file with the drop-ins laid over it.
//!
//! A key of a later file replaces the same key of an earlier one, lists included. The variables of
//! `[environment]` are laid over one by one. A table in one file and a plain value under the same
//! name in another (`ready = "notify"` over `[ready]`) replace each other.
#![forbid(unsafe_code)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a TOML value of any type but the expected ones is told as a wrong type"
)]

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Severity, SourceText};
use crate::keys::{KEYS, Key, Status, TABLES, suggestion};

/// The keys of a unit in the order of [`KEYS`], each once.
#[derive(Debug, Default)]
pub(crate) struct Document<'t> {
    pub(crate) entries: Vec<Entry<'t>>,
}

#[derive(Debug)]
pub(crate) struct Entry<'t> {
    /// Position in [`KEYS`].
    index: usize,
    /// Which of the files.
    pub(crate) file: usize,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Spanned<DeValue<'t>>,
}

impl Entry<'_> {
    pub(crate) fn key(&self) -> &'static Key {
        &KEYS[self.index]
    }
}

impl<'t> Document<'t> {
    /// Reads the files in the order given, later over earlier.
    pub(crate) fn read(files: &'t [SourceText], diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut document = Self::default();
        for (file, source) in files.iter().enumerate() {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            for error in errors {
                diagnostics.push(Diagnostic {
                    severity: Severity::Error,
                    source: source.clone(),
                    span: error.span(),
                    message: error.message().trim_end().to_owned(),
                    hint: None,
                });
            }
            let mut overlay = Overlay {
                file,
                source,
                diagnostics,
                document: &mut document,
            };
            overlay.lay(table.into_inner());
        }
        document
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Entry<'t>> {
        let index = Key::index(path)?;
        self.position(index).ok().map(|at| &self.entries[at])
    }

    fn position(&self, index: usize) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&index, |e| e.index)
    }
}

struct Overlay<'d, 't> {
    file: usize,
    source: &'d SourceText,
    diagnostics: &'d mut Vec<Diagnostic>,
    document: &'d mut Document<'t>,
}

impl<'t> Overlay<'_, 't> {
    fn lay(&mut self, table: DeTable<'t>) {
        for (name, value) in table {
            let is_table = TABLES.contains(&&**name.get_ref());
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(inner) if is_table => self.table(&name, inner),
                other if is_table && **name.get_ref() != *"ready" => {
                    let kind = kind_of(&other);
                    self.error(
                        span,
                        format!("`{0}` is a table, this is {kind}", name.get_ref()),
                        Some(format!("write [{}] on a line of its own", name.get_ref())),
                    );
                }
                other => {
                    if is_table {
                        self.forget(&format!("{}.", name.get_ref()));
                    }
                    self.key(None, name, Spanned::new(span, other));
                }
            }
        }
    }

    fn table(&mut self, table: &Spanned<DeString<'t>>, inner: DeTable<'t>) {
        if let Some(plain) = Key::index(table.get_ref()) {
            self.document.entries.retain(|entry| entry.index != plain);
        }
        for (name, value) in inner {
            self.key(Some(table.get_ref()), name, value);
        }
    }

    fn forget(&mut self, prefix: &str) {
        let entries = &mut self.document.entries;
        entries.retain(|entry| !entry.key().path.starts_with(prefix));
    }

    fn key(
        &mut self,
        table: Option<&str>,
        name: Spanned<DeString<'t>>,
        value: Spanned<DeValue<'t>>,
    ) {
        let found = match table {
            Some(table) => Key::index(&format!("{table}.{}", name.get_ref())),
            // A dot inside a quoted key is part of a name, never a path.
            None if name.get_ref().contains('.') => None,
            None => Key::index(name.get_ref()),
        };
        let Some(index) = found else {
            let what = match value.get_ref() {
                DeValue::Table(_) if table.is_none() => "table",
                _ => "key",
            };
            let shown = match table {
                Some(table) => format!("unknown key {:?} in [{table}]", name.get_ref()),
                None => format!("unknown {what} {:?}", name.get_ref()),
            };
            let hint = suggestion(table, name.get_ref());
            self.error(name.span(), shown.replace('"', "`"), hint);
            return;
        };
        let key = &KEYS[index];
        match key.status {
            Status::Supported => {}
            Status::NotYet(with) => {
                let message = format!("`{}` is not supported yet", key.path);
                self.error(name.span(), message, Some(format!("it comes with {with}")));
                return;
            }
            Status::Refused(reason) => {
                let message = format!("`{}` is not supported", key.path);
                self.error(name.span(), message, Some(reason.to_owned()));
                return;
            }
        }
        let entry = Entry {
            index,
            file: self.file,
            key_span: name.span(),
            value,
        };
        match self.document.position(index) {
            Ok(at) => merge(&mut self.document.entries[at], entry),
            Err(at) => self.document.entries.insert(at, entry),
        }
    }

    fn error(&mut self, span: Range<usize>, message: String, hint: Option<String>) {
        self.diagnostics.push(Diagnostic {
            severity: Severity::Error,
            source: self.source.clone(),
            span: Some(span),
            message,
            hint,
        });
    }
}

/// The later entry wins; only variables are laid over one by one.
fn merge<'t>(old: &mut Entry<'t>, new: Entry<'t>) {
    let variables = new.key().path == "environment";
    match (old.value.get_mut(), new.value.get_ref()) {
        (DeValue::Table(kept), DeValue::Table(_)) if variables => {
            old.file = new.file;
            old.key_span = new.key_span;
            if let DeValue::Table(added) = new.value.into_inner() {
                for (name, value) in added {
                    kept.remove(&*name.get_ref().clone());
                    kept.insert(name, value);
                }
            }
        }
        _ => *old = new,
    }
}

/// The type of a value with its article, for messages.
pub(crate) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
