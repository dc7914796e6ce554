//! Typed reading of values; every value that does not fit leaves a diagnostic at its place.
#![forbid(unsafe_code)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a TOML value of any type but the expected ones is told as a wrong type"
)]

use std::ops::{Range, RangeInclusive};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Severity, SourceText};
use crate::document::{Entry, kind_of};
use crate::keys::nearest;
use crate::name::UnitName;
use crate::signal::Signal;
use crate::value::duration::{DurationError, parse_duration};
use crate::value::specifier::Specifiers;

/// Reads values of one unit and gathers what is wrong with them.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) files: &'a [SourceText],
    pub(crate) specifiers: Specifiers<'a>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// One value and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'d> {
    pub(crate) file: usize,
    pub(crate) value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Item<'d> {
    pub(crate) fn of(entry: &'d Entry<'d>) -> Self {
        Self {
            file: entry.file,
            value: &entry.value,
        }
    }

    /// Another value of the same file.
    pub(crate) fn sibling(self, value: &'d Spanned<DeValue<'d>>) -> Self {
        Self { value, ..self }
    }

    pub(crate) fn value(self) -> &'d DeValue<'d> {
        self.value.get_ref()
    }

    pub(crate) fn span(self) -> Range<usize> {
        self.value.span()
    }
}

impl Reader<'_> {
    pub(crate) fn report(
        &mut self,
        severity: Severity,
        file: usize,
        span: Range<usize>,
        message: String,
        hint: Option<String>,
    ) {
        self.diagnostics.push(Diagnostic {
            severity,
            source: self.files[file].clone(),
            span: Some(span),
            message,
            hint,
        });
    }

    pub(crate) fn error(&mut self, item: Item<'_>, message: impl Into<String>) {
        let (file, span) = (item.file, item.span());
        self.report(Severity::Error, file, span, message.into(), None);
    }

    pub(crate) fn error_with_hint(
        &mut self,
        item: Item<'_>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (file, span) = (item.file, item.span());
        let hint = Some(hint.into());
        self.report(Severity::Error, file, span, message.into(), hint);
    }

    pub(crate) fn wrong_type<T>(&mut self, item: Item<'_>, expected: &str) -> Option<T> {
        let found = kind_of(item.value());
        self.error(item, format!("expected {expected}, found {found}"));
        None
    }

    /// The text as written, without a zero byte.
    pub(crate) fn raw_text<'d>(&mut self, item: Item<'d>) -> Option<&'d str> {
        let DeValue::String(text) = item.value() else {
            return self.wrong_type(item, "a text");
        };
        if text.contains('\0') {
            self.error(item, "a text cannot hold a zero byte");
            return None;
        }
        Some(text)
    }

    /// The text with its specifiers expanded.
    pub(crate) fn text(&mut self, item: Item<'_>) -> Option<String> {
        let text = self.raw_text(item)?;
        self.expand(item, text)
    }

    pub(crate) fn expand(&mut self, item: Item<'_>, text: &str) -> Option<String> {
        match self.specifiers.expand(text) {
            Ok(expanded) => Some(expanded.into_owned()),
            Err(problem) => {
                self.error_with_hint(item, problem.to_string(), "a plain % is written %%");
                None
            }
        }
    }

    /// A name or a number, as text.
    pub(crate) fn text_or_number(&mut self, item: Item<'_>) -> Option<String> {
        match item.value() {
            DeValue::Integer(_) => self
                .integer(item, 0..=i64::from(u32::MAX) - 1)
                .map(|number| number.to_string()),
            _ => self.text(item).filter(|text| {
                let given = !text.is_empty();
                if !given {
                    self.error(item, "a name cannot be empty");
                }
                given
            }),
        }
    }

    pub(crate) fn boolean(&mut self, item: Item<'_>) -> Option<bool> {
        match item.value() {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(text) if matches!(&**text, "yes" | "true" | "on") => {
                self.error_with_hint(item, "expected true or false, found a text", "write true");
                None
            }
            DeValue::String(text) if matches!(&**text, "no" | "false" | "off") => {
                self.error_with_hint(item, "expected true or false, found a text", "write false");
                None
            }
            _ => self.wrong_type(item, "true or false"),
        }
    }

    pub(crate) fn integer(&mut self, item: Item<'_>, range: RangeInclusive<i64>) -> Option<i64> {
        let DeValue::Integer(integer) = item.value() else {
            return self.wrong_type(item, "an integer");
        };
        let value = i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = (range.start(), range.end());
            self.error(item, format!("the number must be from {low} to {high}"));
        }
        value
    }

    /// An integer of the type's whole range, cut to `range`.
    pub(crate) fn number<N: TryFrom<i64>>(
        &mut self,
        item: Item<'_>,
        range: RangeInclusive<i64>,
    ) -> Option<N> {
        self.integer(item, range).and_then(|n| N::try_from(n).ok())
    }

    /// One of the words.
    pub(crate) fn choice<T: Copy>(&mut self, item: Item<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.raw_text(item)?;
        self.word(item, text, words)
    }

    pub(crate) fn word<T: Copy>(
        &mut self,
        item: Item<'_>,
        text: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let hint = match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", known.join(", ")),
        };
        self.error_with_hint(item, format!("{text:?} is not known here"), hint);
        None
    }

    /// The items of a list; a single value is a list of one.
    pub(crate) fn list<'d>(&mut self, item: Item<'d>) -> Vec<Item<'d>> {
        match item.value() {
            DeValue::Array(array) => array.iter().map(|value| item.sibling(value)).collect(),
            _ => vec![item],
        }
    }

    pub(crate) fn texts(&mut self, item: Item<'_>) -> Vec<String> {
        let items = self.list(item);
        items
            .into_iter()
            .filter_map(|item| self.text(item))
            .collect()
    }

    pub(crate) fn table<'d>(&mut self, item: Item<'d>) -> Option<&'d DeTable<'d>> {
        match item.value() {
            DeValue::Table(table) => Some(table),
            _ => self.wrong_type(item, "a table"),
        }
    }

    /// A duration that must end.
    pub(crate) fn finite_duration(&mut self, item: Item<'_>) -> Option<Duration> {
        let duration = self.duration(item)?;
        if duration.is_none() {
            self.error(item, "this duration cannot be infinite");
        }
        duration
    }

    /// A finite duration above nothing.
    pub(crate) fn interval(&mut self, item: Item<'_>) -> Option<Duration> {
        let duration = self.finite_duration(item)?;
        if duration.is_zero() {
            self.error(item, "this duration must be above 0");
            return None;
        }
        Some(duration)
    }

    /// `Some(None)` is `infinity`.
    pub(crate) fn duration(&mut self, item: Item<'_>) -> Option<Option<Duration>> {
        const HINT: &str = "durations are written \"1.5s\", \"2min\", \"500ms\" or \"infinity\"";
        if let DeValue::Integer(number) = item.value() {
            let number = number.as_str();
            let hint = format!("write \"{number}s\" or \"{number}ms\"");
            self.error_with_hint(item, "a duration needs a unit", hint);
            return None;
        }
        let text = self.raw_text(item)?;
        match parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(problem) => {
                let hint = match &problem {
                    DurationError::NoUnit => format!("write \"{0}s\" or \"{0}ms\"", text.trim()),
                    DurationError::Empty
                    | DurationError::Unit(_)
                    | DurationError::Number(_)
                    | DurationError::TooLong => HINT.to_owned(),
                };
                self.error_with_hint(item, problem.to_string(), hint);
                None
            }
        }
    }

    /// A duration, or an integer that is milliseconds: `restart_delay` and `start_delay` alone.
    pub(crate) fn duration_or_milliseconds(&mut self, item: Item<'_>) -> Option<Duration> {
        match item.value() {
            DeValue::Integer(_) => self.milliseconds(item),
            _ => self.finite_duration(item),
        }
    }

    pub(crate) fn milliseconds(&mut self, item: Item<'_>) -> Option<Duration> {
        self.number::<u64>(item, 0..=i64::from(u32::MAX))
            .map(Duration::from_millis)
    }

    pub(crate) fn signal(&mut self, item: Item<'_>) -> Option<Signal> {
        let text = self.raw_text(item)?;
        let signal = Signal::from_name(text);
        if signal.is_none() {
            let message = format!("{text:?} is no signal");
            let hint = match Signal::nearest(text) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "signals are written \"TERM\" or \"SIGTERM\"".to_owned(),
            };
            self.error_with_hint(item, message, hint);
        }
        signal
    }

    /// `0o750` or `"0750"`.
    pub(crate) fn mode(&mut self, item: Item<'_>) -> Option<u32> {
        const HINT: &str = "modes are written 0o750 or \"0750\"";
        let mode = match item.value() {
            DeValue::Integer(integer) if integer.radix() == 8 || integer.as_str() == "0" => {
                u32::from_str_radix(integer.as_str(), 8).ok()
            }
            DeValue::String(text) => text
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| u32::from_str_radix(text, 8).ok())
                .flatten(),
            _ => None,
        };
        let mode = mode.filter(|mode| *mode <= 0o7777);
        if mode.is_none() {
            self.error_with_hint(item, "this is no file mode", HINT);
        }
        mode
    }

    /// An absolute path, without `..`, specifiers expanded.
    pub(crate) fn path(&mut self, item: Item<'_>) -> Option<PathBuf> {
        let text = self.text(item)?;
        self.absolute(item, &text)
    }

    /// The path, and whether a `-` in front made it optional.
    pub(crate) fn optional_path(&mut self, item: Item<'_>) -> Option<(PathBuf, bool)> {
        let text = self.text(item)?;
        let optional = text.starts_with('-');
        let path = self.absolute(item, text.strip_prefix('-').unwrap_or(&text))?;
        Some((path, optional))
    }

    pub(crate) fn absolute(&mut self, item: Item<'_>, text: &str) -> Option<PathBuf> {
        let path = Path::new(text);
        if !path.is_absolute() {
            self.error(item, format!("{text:?} is not an absolute path"));
            return None;
        }
        if path.components().any(|part| part == Component::ParentDir) {
            self.error(item, format!("{text:?} goes up with \"..\""));
            return None;
        }
        if text.len() > 4095 {
            self.error(item, "a path has at most 4095 bytes");
            return None;
        }
        Some(path.components().collect())
    }

    /// Names of units, specifiers expanded, each once.
    pub(crate) fn unit_names(&mut self, item: Item<'_>) -> Vec<UnitName> {
        let mut names = Vec::new();
        for item in self.list(item) {
            let Some(text) = self.text(item) else {
                continue;
            };
            match UnitName::new(&text) {
                Ok(name) if name.is_template() => {
                    let hint = format!("name an instance: \"{name}x\"");
                    let message = format!("{text:?} is a template");
                    self.error_with_hint(item, message, hint);
                }
                Ok(name) if names.contains(&name) => {}
                Ok(name) => names.push(name),
                Err(problem) => self.error(item, problem.to_string()),
            }
        }
        names
    }
}
