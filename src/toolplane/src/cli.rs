//! The command line: what can be asked for, and help that teaches it.

use crate::configuration::{Flags, groups};
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Settings come from flags, then TOOLPLANE_* variables, then a TOML file (--config), then defaults. Secrets can be given by a file: \
TOOLPLANE_DATABASE_URL_FILE=/run/secrets/database-url.

Exit codes: 0 done, 1 failed (the reason is on standard error), 2 not understood.

Start here:
  toolplane demo                          everything on this machine, no account anywhere
  toolplane migrate                       make or update the schema in your database
  toolplane doctor                        check database, DigitalOcean token, keys
  toolplane apply -f environment.yaml     say what should be
  toolplane serve                         make it so, and keep it so
  toolplane get environments --watch      see it happen
  toolplane events --watch                see what is done, and why
  toolplane describe environment NAME     everything about one, and what it waits for
  toolplane plan                          what would be done now, without doing it";

/// One shared DigitalOcean droplet per account, and on it the containers that the account's agents use, from rows in Postgres.
#[derive(Debug, Parser)]
#[command(name = "toolplane", version, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Arguments {
    /// Configuration file, TOML; without it the one that `TOOLPLANE_CONFIG` names.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// What is logged, such as `warn` or `info,schema=debug`.
    #[arg(long, global = true, env = "TOOLPLANE_LOG", value_name = "FILTER", hide_env_values = true)]
    pub(crate) log: Option<String>,
    /// How it is logged: for people or, a line an event, for programs.
    #[arg(
        long,
        global = true,
        env = "TOOLPLANE_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        hide_env_values = true
    )]
    pub(crate) log_format: Option<LogFormat>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Pretty,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the control plane: reconcilers and API. Any number of replicas share the work.
    Serve(Serve),
    /// Bring the database's schema up to date.
    Migrate(Migrate),
    /// Write manifests into the database: all of them, or on any error none.
    Apply(Apply),
    /// List environments, instances or the catalog.
    Get(Get),
    /// Show everything about environments or instances: specification, status, conditions, what they wait for, recent events.
    Describe(Describe),
    /// List what was done, and why.
    Events(Events),
    /// Say what would be done now, and why, without doing it.
    Plan(Plan),
    /// Check everything that the control plane needs, and say what to do about what fails.
    Doctor(Doctor),
    /// Run everything on this machine with a simulated DigitalOcean: needs no account, leaves nothing behind.
    Demo(Demo),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE | groups::CLOUD | groups::POLICY | groups::SERVER }>,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Only say which migrations are pending; exit code 1 when there are any.
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE }>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A manifest is YAML, several to a file with `---` between them:

  apiVersion: toolplane.dev/v1
  kind: AccountToolEnvironment      # or ToolCatalogEntry, AccountToolInstance
  metadata: {name: example}
  spec:
    user_id: 5f0c2a52-6d2e-4b4e-8f0a-3f1f0a3c9b11
    region_slug: nyc3
    size_slug: s-1vcpu-1gb
    image_slug: ubuntu-22-04-x64

Everything is checked before anything is written; with a DigitalOcean token also that region, size and image exist.")]
pub(crate) struct Apply {
    /// Manifest; `-` reads standard input; can be given several times.
    #[arg(short, long, required = true, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Gives `${NAME}` in the manifests a value; can be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(crate) set: Vec<(String, String)>,
    /// Check everything and say what would change, without changing it.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE | groups::CLOUD }>,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to list.
    #[arg(value_enum, value_name = "environments|instances|catalog", ignore_case = true)]
    pub(crate) kind: Kind,
    /// Only this one, by name, id, or the beginning of its id.
    #[arg(value_name = "NAME|ID")]
    pub(crate) name: Option<String>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table, value_name = "FORMAT")]
    pub(crate) output: Output,
    /// Then print every row that changes, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE }>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Accounts' environments: one droplet each [short: env].
    #[value(name = "environments", aliases = ["environment", "env", "envs", "accounttoolenvironment", "accounttoolenvironments"])]
    Environments,
    /// Tools on droplets [short: inst].
    #[value(name = "instances", aliases = ["instance", "inst", "accounttoolinstance", "accounttoolinstances"])]
    Instances,
    /// Tools that can be instantiated [short: cat].
    #[value(name = "catalog", aliases = ["cat", "tool", "tools", "toolcatalogentry", "toolcatalogentries"])]
    Catalog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A line each.
    Table,
    /// A longer line each.
    Wide,
    /// Everything, for programs.
    Json,
    /// Everything, as `apply` reads it.
    Yaml,
    /// kind/id only.
    Name,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolplane describe environment 5f0c2a52        by the beginning of its id
  toolplane describe instance reasoning          by its name; all that are called so

What is read is in the database: what DigitalOcean has was last seen at the times that are shown. `toolplane plan` asks it anew.")]
pub(crate) struct Describe {
    /// What to describe.
    #[arg(value_enum, value_name = "environment|instance", ignore_case = true)]
    pub(crate) kind: Describable,
    /// Only this one, by name, id, or the beginning of its id.
    #[arg(value_name = "NAME|ID")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE | groups::POLICY }>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Describable {
    /// Accounts' environments: one droplet each [short: env].
    #[value(name = "environment", aliases = ["environments", "env", "envs", "accounttoolenvironment", "accounttoolenvironments"])]
    Environment,
    /// Tools on droplets [short: inst].
    #[value(name = "instance", aliases = ["instances", "inst", "accounttoolinstance", "accounttoolinstances"])]
    Instance,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "toolplane events [OPTIONS] [KIND] [NAME|ID]",
    after_help = "\
Examples:
  toolplane events                               the latest, of everything
  toolplane events environment 5f0c2a52 --watch  of one environment and its tools, as they come
  toolplane events instance reasoning            of one tool
  toolplane events --since 2h -o wide            with who did it, how often, and since when

The same thing again within an hour raises the count of the first and moves it to the end. CAUSE says which column of which generation, \
or what was seen, led to it. Events are kept for 30 days."
)]
pub(crate) struct Events {
    /// Only events about this: `environment` or `instance`, a name, an id or the beginning of one, or both.
    #[arg(value_name = "KIND] [NAME|ID", num_args = 0..=2)]
    pub(crate) about: Vec<String>,
    /// Then print every event as it comes, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Only those last seen since: so long ago (`90s`, `10m`, `2h`, `1d`), or at a time (`2026-01-31T12:00:00Z`).
    #[arg(long, value_name = "AGE|TIME", value_parser = Since::parse)]
    pub(crate) since: Option<Since>,
    /// At most so many, the latest; 0 prints all.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = count)]
    pub(crate) limit: u32,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = ReportOutput::Table, value_name = "FORMAT")]
    pub(crate) output: ReportOutput,
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE }>,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Ago(SignedDuration),
    At(Timestamp),
}

impl Since {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        // Days are as long as the clock says here; nobody means the hour that a summer day lacks.
        let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
        let ago = match days {
            Some(days) => Some(SignedDuration::from_hours(24 * i64::from(days))),
            None => text.parse::<SignedDuration>().ok(),
        };
        ago.filter(|ago| !ago.is_negative())
            .map(Self::Ago)
            .ok_or_else(|| "expected an age such as 90s, 10m, 2h or 1d, or a time such as 2026-01-31T12:00:00Z".to_owned())
    }

    /// The moment that it names.
    pub(crate) fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
            Self::At(at) => at,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportOutput {
    /// A line each.
    Table,
    /// A longer line each.
    Wide,
    /// Everything, for programs.
    Json,
    /// Everything, for programs and people.
    Yaml,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is there is read anew, from the database and from DigitalOcean, over connections that can write nothing; then the same decisions are \
made that `toolplane serve` makes, with the same settings (the same --config), and printed instead of carried out. What only a running replica \
knows, such as a create that it has just sent, is taken as it would be after a restart.

Exit codes, with --detailed-exitcode: 0 nothing would be done, 1 failed, 2 something would be done. Without: 0 or 1.

Examples:
  toolplane plan                                 for every environment
  toolplane plan 5f0c2a52                        for one, by the beginning of its id
  toolplane apply -f environment.yaml && toolplane plan --detailed-exitcode")]
pub(crate) struct Plan {
    /// Only for this environment, by id, the beginning of its id, or its user's id.
    #[arg(value_name = "NAME|ID")]
    pub(crate) name: Option<String>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = PlanOutput::Text, value_name = "FORMAT")]
    pub(crate) output: PlanOutput,
    /// Exit with 2 when something would be done, as `terraform plan` does.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE | groups::CLOUD | groups::POLICY | groups::SERVER }>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanOutput {
    /// Sentences, by environment.
    Text,
    /// A line for each action.
    Table,
    /// Everything, for programs.
    Json,
    /// Everything, for programs and people.
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Also check what `toolplane demo` needs: Docker, a registry, PostgreSQL's binaries.
    #[arg(long)]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE | groups::CLOUD | groups::POLICY | groups::SERVER }>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave when the story is told: with 0, or with 1 and the reason.
    #[arg(long)]
    pub(crate) once: bool,
    /// Where data and logs are kept; the data goes at the end, the logs stay.
    #[arg(long, value_name = "PATH")]
    pub(crate) state_dir: Option<PathBuf>,
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a whole number, or 0 for all".to_owned())
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn short_names_are_understood() {
        for (text, kind) in [
            ("env", Kind::Environments),
            ("instance", Kind::Instances),
            ("cat", Kind::Catalog),
        ] {
            let arguments = Arguments::try_parse_from(["toolplane", "get", text]).unwrap();
            let Command::Get(get) = arguments.command else {
                panic!("parsed as something else")
            };
            assert_eq!(get.kind, kind);
        }
    }

    #[test]
    fn since_is_an_age_or_a_time() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("90s", "2026-01-31T11:58:30Z"),
            ("2h", "2026-01-31T10:00:00Z"),
            ("1d", "2026-01-30T12:00:00Z"),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(Since::parse(text).unwrap().moment(now), expected.parse().unwrap(), "{text}");
        }
        for text in ["yesterday", "-5m", "10"] {
            assert!(Since::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_for_settings_are_offered_where_they_are_used() {
        let arguments = Arguments::try_parse_from(["toolplane", "serve", "--listen", "127.0.0.1:1"]).unwrap();
        let Command::Serve(serve) = arguments.command else {
            panic!("parsed as something else")
        };
        assert_eq!(serve.settings.values()["listen"], "127.0.0.1:1");
        assert!(Arguments::try_parse_from(["toolplane", "migrate", "--listen", "127.0.0.1:1"]).is_err());
        assert!(
            Arguments::try_parse_from(["toolplane", "serve", "--master-key", "00"]).is_err(),
            "secrets have no flag"
        );
    }

    #[test]
    fn help_names_variable_and_default() {
        let help = Arguments::command()
            .find_subcommand_mut("serve")
            .unwrap()
            .render_long_help()
            .to_string();
        assert!(help.contains("[env: TOOLPLANE_LISTEN] [default: 127.0.0.1:8443]"), "{help}");
        assert!(help.contains("--master-key-file <PATH>"), "{help}");
    }

    #[test]
    fn help_teaches() {
        let mut arguments = Arguments::command();
        let texts = ["get", "describe", "events", "plan"].map(|name| {
            let command = arguments.find_subcommand_mut(name).unwrap();
            // Settings are the table's, and the same everywhere.
            let without = command.clone().mut_args(|argument| {
                let setting = argument.get_help_heading() == Some("Settings");
                argument.hide(setting)
            });
            format!("== {name}\n{}", without.clone().render_long_help())
        });
        insta::assert_snapshot!(texts.join("\n"));
    }
}
