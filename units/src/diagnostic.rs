//! What is wrong with a unit file, where, and what to do about it.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One file's text, kept as long as a diagnostic points into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    pub path: Arc<Path>,
    pub text: Arc<str>,
}

impl SourceText {
    pub fn new(path: impl AsRef<Path>, text: impl Into<Arc<str>>) -> Self {
        Self {
            path: Arc::from(path.as_ref()),
            text: text.into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    /// The unit cannot be used.
    Error,
}

/// One problem. It carries the text it points into, so that it can be shown at any later time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub source: SourceText,
    /// Bytes of the text; `None` is about the file as a whole.
    pub span: Option<Range<usize>>,
    pub message: String,
    pub hint: Option<String>,
}

/// A [`Diagnostic`] as plain fields, for JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    pub severity: &'static str,
    pub file: String,
    /// From 1, like `column`, which counts characters.
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub message: String,
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error about a file as a whole.
    pub fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            source: SourceText::new(path, ""),
            span: None,
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Line and column of the span's begin, both from 1; the column counts characters.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let start = self.span.as_ref()?.start;
        let before = self.source.text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Some((line, before.get(line_start..)?.chars().count() + 1))
    }

    pub fn to_plain(&self) -> Plain {
        let place = self.line_and_column();
        Plain {
            severity: match self.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            file: self.source.path.display().to_string(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            message: self.message.clone(),
            hint: self.hint.clone(),
        }
    }

    /// The report as rustc would print it: file, line, column, the line itself and a caret.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        let path = self.source.path.display().to_string();
        let title = level.primary_title(self.message.as_str());
        let mut group = match self.span.as_ref().and_then(|span| self.visible(span)) {
            Some(span) => title.element(
                Snippet::source(&*self.source.text)
                    .path(path)
                    .annotation(AnnotationKind::Primary.span(span)),
            ),
            None => title.element(Origin::path(path)),
        };
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let groups: [Group<'_>; 1] = [group];
        renderer.decor_style(DecorStyle::Ascii).render(&groups)
    }

    /// The span cut to the text and to whole characters, so that no renderer can trip over it.
    fn visible(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let text = &self.source.text;
        if text.is_empty() {
            return None;
        }
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = span.end.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        Some(start..end)
    }
}

/// `file:line:column: message`, on one line.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.path.display())?;
        if let Some((line, column)) = self.line_and_column() {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All reports of a file or a set, in order, with an empty line between.
pub fn render_all(diagnostics: &[Diagnostic], colour: bool) -> String {
    let reports: Vec<String> = diagnostics.iter().map(|d| d.render(colour)).collect();
    reports.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, span: Range<usize>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            source: SourceText::new("web.toml", text),
            span: Some(span),
            message: "unknown key".to_owned(),
            hint: Some("did you mean `user`?".to_owned()),
        }
    }

    #[test]
    fn a_place_is_counted_in_lines_and_characters() {
        let diagnostic = at("a = 1\né = 2\n", 9..10);
        assert_eq!(diagnostic.line_and_column(), Some((2, 3)));
    }

    #[test]
    fn a_report_shows_file_line_column_caret_and_hint() {
        let shown = at("command = \"x\"\nusr = 1\n", 14..17).render(false);
        assert!(shown.contains("--> web.toml:2:1"), "{shown}");
        assert!(shown.contains("^^^"), "{shown}");
        assert!(shown.contains("help: did you mean `user`?"), "{shown}");
    }

    #[test]
    fn a_span_outside_the_text_still_renders() {
        for span in [0..900, 900..901, 1..2] {
            assert!(!at("é", span).render(false).is_empty());
        }
    }
}
