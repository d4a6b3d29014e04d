//! Files, their documents, and places in them.

use miette::{NamedSource, SourceSpan};
use serde_saphyr::Location;
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Reads a file, or standard input for `-`.
    pub(crate) fn read(path: &Path) -> Result<Self, ReadError> {
        let unreadable = |source| ReadError {
            path: path.to_owned(),
            source,
        };
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
            return Ok(Self::new("standard input", &text));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self::new(&path.display().to_string(), &text))
    }

    /// `${NAME}` replaced by its value; others stay, and are then no image name, version or slug.
    #[must_use]
    pub(crate) fn substituted<'a>(&self, values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let text = values.into_iter().fold(self.text.to_string(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        });
        Self {
            name: self.name.clone(),
            text: text.into(),
        }
    }

    /// The documents, split at their markers, which YAML allows nowhere else at the start of a line.
    pub(super) fn documents(&self) -> Vec<Document> {
        let mut documents = vec![Document {
            source: self.clone(),
            number: 1,
            first_line: 1,
            text: String::new(),
        }];
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            let marker = line
                .strip_prefix("---")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
            if marker {
                documents.push(Document {
                    source: self.clone(),
                    number: documents.len() + 1,
                    first_line: index + 1,
                    text: String::new(),
                });
            }
            if let Some(document) = documents.last_mut() {
                document.text.push_str(line);
            }
        }
        documents.retain(Document::says_something);
        for (index, document) in documents.iter_mut().enumerate() {
            document.number = index + 1;
        }
        documents
    }
}

/// A file could not be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("cannot read the manifest {}", path.display())]
pub(crate) struct ReadError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// One document of a file.
#[derive(Clone, Debug)]
pub(super) struct Document {
    source: Source,
    /// From 1, not counting empty ones.
    pub(super) number: usize,
    first_line: usize,
    text: String,
}

impl Document {
    fn says_something(&self) -> bool {
        let lines = self.text.lines().map(|line| line.strip_prefix("---").unwrap_or(line).trim());
        lines
            .into_iter()
            .any(|line| !line.is_empty() && !line.starts_with('#') && line != "...")
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place of a location that the parser gave for this document's text.
    pub(super) fn place(&self, location: Option<Location>) -> Place {
        let number = |number: u64| usize::try_from(number).unwrap_or(1);
        let (line, column) = match location {
            Some(location) if location.line() > 0 => (number(location.line()), number(location.column())),
            _ => (self.first_content_line(), 1),
        };
        Place {
            source: self.source.clone(),
            document: self.number,
            line: self.first_line + line - 1,
            column: column.max(1),
        }
    }

    fn first_content_line(&self) -> usize {
        let says = |line: &str| !line.is_empty() && !line.starts_with("---") && !line.starts_with('#');
        self.text.lines().position(|line| says(line.trim())).unwrap_or(0) + 1
    }
}

/// A line of a document of a file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    source: Source,
    document: usize,
    line: usize,
    column: usize,
}

impl Place {
    /// For a miette report.
    pub(super) fn code(&self) -> NamedSource<Arc<str>> {
        NamedSource::new(&self.source.name, self.source.text.clone()).with_language("YAML")
    }

    /// From here to the end of the line.
    pub(super) fn span(&self) -> SourceSpan {
        let before: usize = self.source.text.split_inclusive('\n').take(self.line - 1).map(str::len).sum();
        let line = self.source.text[before..].lines().next().unwrap_or_default();
        let start: usize = line.chars().take(self.column - 1).map(char::len_utf8).sum();
        let text = line[start..].split(" #").next().unwrap_or_default().trim_end();
        (before + start, text.len()).into()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, document {}, line {}", self.source.name, self.document, self.line)
    }
}
