//! Mistakes in manifests, as a person needs to hear of them.

use super::source::Place;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceSpan};
use std::{fmt, sync::Arc};

/// One mistake.
#[derive(Debug)]
pub(crate) struct Problem {
    message: String,
    help: String,
    code: Option<Box<(NamedSource<Arc<str>>, SourceSpan)>>,
}

impl Problem {
    /// `field` is its path, such as `spec.region_slug`, or empty when the document as a whole is meant.
    pub(super) fn new(place: &Place, field: &str, message: impl fmt::Display, help: impl Into<String>) -> Self {
        let message = if field.is_empty() {
            format!("{place}: {message}")
        } else {
            format!("{place}: {field}: {message}")
        };
        Self {
            message,
            help: help.into(),
            code: Some(Box::new((place.code(), place.span()))),
        }
    }

    pub(super) fn without_place(message: &str, help: &str) -> Self {
        Self {
            message: message.to_owned(),
            help: help.to_owned(),
            code: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.help.is_empty()).then(|| Box::new(&self.help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.code.as_deref().map(|(code, _)| code as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span) = self.code.as_deref()?;
        Some(Box::new(std::iter::once(LabeledSpan::underline(*span))))
    }
}

/// All mistakes of a set of manifests.
#[derive(Debug, Default, thiserror::Error, Diagnostic)]
#[error("nothing was changed: {}", counted(.problems.len()))]
pub(crate) struct Problems {
    #[related]
    problems: Vec<Problem>,
}

fn counted(count: usize) -> String {
    if count == 1 {
        "there is a mistake in the manifests".to_owned()
    } else {
        format!("there are {count} mistakes in the manifests")
    }
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// `value`, if there are none.
    pub(super) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}
