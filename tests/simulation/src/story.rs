//! What happened, a line a step: time, who, what, answer.
//!
//! Owns: the text. Must not: decide anything by it. Promises: a story that nobody wants to read costs no formatting, and whether it
//! is told changes nothing in it.

use crate::moment::Millis;
use std::fmt::{self, Write};

/// See the module.
#[derive(Debug, Default)]
pub struct Story {
    text: Option<String>,
}

impl Story {
    /// A story that is written down, or one that is not.
    pub fn new(told: bool) -> Self {
        Self {
            text: told.then(String::new),
        }
    }

    /// Whether anybody listens.
    pub fn is_told(&self) -> bool {
        self.text.is_some()
    }

    /// One more step.
    pub fn tell(&mut self, at: Millis, who: impl fmt::Display, what: fmt::Arguments<'_>) {
        if let Some(text) = &mut self.text {
            // Writing into a String does not fail.
            let _ = writeln!(text, "{:>6}.{:03}  {who:<12}  {what}", at / 1000, at % 1000);
        }
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }
}
