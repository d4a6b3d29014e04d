//! The command line: what can be asked for, and help that teaches it.

use crate::configuration::{Flags, groups};
use clap::{Args, Parser, Subcommand, ValueEnum};
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
  toolplane get environments --watch      see it happen";

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
    /// Check everything that the control plane needs, and say what to do about what fails.
    Doctor(Doctor),
    /// Run everything on this machine with a simulated DigitalOcean: needs no account, leaves nothing behind.
    Demo(Demo),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE | groups::CLOUD | groups::SERVER }>,
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
    #[arg(value_enum, value_name = "KIND", ignore_case = true)]
    pub(crate) kind: Kind,
    /// Only this one, by name or id.
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
pub(crate) struct Doctor {
    /// Also check what `toolplane demo` needs: Docker, a registry, PostgreSQL's binaries.
    #[arg(long)]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<{ groups::DATABASE | groups::CLOUD | groups::SERVER }>,
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
}
