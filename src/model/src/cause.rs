//! Why something is done: which column of which generation, or which observation.
//!
//! Owns: the spelling of causes, and what a planned action says of itself. Must not: judge. Promises: the text of a cause is
//! stable, so that people and programs can look for it.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// Why something is done, for `reconcile_events.cause`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Cause {
    /// A column of a row's specification: `spec.desired_state of generation 3`.
    Specification {
        /// The column's name.
        column: Cow<'static, str>,
        /// The generation that says so.
        generation: i64,
    },
    /// Something that was seen, or that a time has passed: a sentence without its full stop, such as `droplet 17 is gone`.
    Observation(Cow<'static, str>),
}

impl Cause {
    /// A column of the specification.
    pub fn specification(column: &'static str, generation: i64) -> Self {
        Self::Specification {
            column: Cow::Borrowed(column),
            generation,
        }
    }

    /// Something that was seen.
    pub fn observation(seen: impl Into<Cow<'static, str>>) -> Self {
        Self::Observation(seen.into())
    }

    /// An action that failed, and why it was to be done: `while CreateDroplet: spec.desired_state of generation 3`.
    pub fn while_acting(action: &impl Explain) -> Self {
        let Explanation { action, cause, .. } = action.explain();
        Self::observation(format!("while {action}: {cause}"))
    }

    /// Something that could not be read: `while reading droplets`.
    pub fn while_reading(what: &str) -> Self {
        Self::observation(format!("while reading {what}"))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Specification { column, generation } => write!(f, "spec.{column} of generation {generation}"),
            Self::Observation(seen) => f.write_str(seen),
        }
    }
}

impl From<Cause> for String {
    fn from(cause: Cause) -> Self {
        cause.to_string()
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        let specification = || {
            let (column, generation) = text.strip_prefix("spec.")?.split_once(" of generation ")?;
            Some(Self::Specification {
                column: Cow::Owned(column.to_owned()),
                generation: generation.parse().ok()?,
            })
        };
        specification().unwrap_or(Self::Observation(Cow::Owned(text)))
    }
}

/// What one action would do, and why: a row of `toolplane plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// One upper-camel-case word: `CreateDroplet`.
    pub action: &'static str,
    /// What it is done to: `droplet 17`, `firewall 9f2c...`, `intent`.
    pub object: String,
    /// What is done, as a sentence without its full stop.
    pub message: String,
    /// Why.
    pub cause: Cause,
}

/// An action of a plan that can say what it does and why.
pub trait Explain {
    /// What would be done, and why.
    fn explain(&self) -> Explanation;

    /// Whether it changes nothing anywhere: somebody looks, and that is all.
    fn only_reads(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_read_as_it_was_spelled() {
        for (cause, text) in [
            (Cause::specification("desired_state", 3), "spec.desired_state of generation 3"),
            (Cause::observation("droplet 17 is gone"), "droplet 17 is gone"),
            (Cause::observation("spec.size of generation x"), "spec.size of generation x"),
        ] {
            assert_eq!(cause.to_string(), text);
            assert_eq!(Cause::from(text.to_owned()), cause);
            assert_eq!(serde_json::to_value(&cause).unwrap(), serde_json::json!(text));
        }
    }
}
