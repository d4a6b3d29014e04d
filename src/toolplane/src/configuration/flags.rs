//! Flags for settings, made from the table.

use super::table::{self, SETTINGS, Setting};
use clap::{Arg, ArgMatches, Command};
use std::collections::BTreeMap;

/// The settings of some groups, as given on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags<const GROUPS: u8>(BTreeMap<String, String>);

impl<const GROUPS: u8> Flags<GROUPS> {
    /// By the key that the file uses: `listen`, `database_url_file`.
    pub(crate) fn values(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

fn key(setting: &Setting) -> String {
    if setting.secret {
        table::file_key(setting.name)
    } else {
        setting.name.to_owned()
    }
}

fn offered(groups: u8) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.group & groups != 0)
}

fn help(setting: &Setting) -> String {
    let (variable, text) = (setting.variable(), setting.help);
    let default = setting
        .default
        .map(|value| format!(" [default: {value}]"))
        .unwrap_or_default();
    if setting.secret {
        format!("File that holds: {text} [env: {variable}, {variable}_FILE]")
    } else {
        let mut letters = text.chars();
        let first = letters
            .next()
            .map(|letter| letter.to_uppercase().to_string())
            .unwrap_or_default();
        format!("{first}{} [env: {variable}]{default}", letters.as_str())
    }
}

impl<const GROUPS: u8> clap::FromArgMatches for Flags<GROUPS> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = offered(GROUPS).filter_map(|setting| {
            let key = key(setting);
            let value = matches.get_one::<String>(&key)?.clone();
            Some((key, value))
        });
        Ok(Self(values.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl<const GROUPS: u8> clap::Args for Flags<GROUPS> {
    fn augment_args(command: Command) -> Command {
        offered(GROUPS).fold(command, |command, setting| {
            let key = key(setting);
            let value = if setting.secret { "PATH" } else { setting.value };
            let flag = setting.flag().trim_start_matches("--").to_owned();
            command.arg(
                Arg::new(key)
                    .long(flag)
                    .value_name(value)
                    .help(help(setting))
                    .help_heading("Settings"),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
