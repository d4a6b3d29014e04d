//! Configuration: flags over environment over file over defaults.
//!
//! Owns: which settings there are, where they come from, and what a right value looks like. Must not: open a connection or decide
//! what is done with a setting. Promises: every error names the setting, where it was set, what was wrong and what would be right,
//! and never prints a secret.

mod error;
mod flags;
mod layers;
mod settings;
mod table;
mod variables;

pub(crate) use flags::Flags;
pub(crate) use settings::Settings;
pub(crate) use table::groups;

#[cfg(test)]
mod tests;
