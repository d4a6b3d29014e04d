//! The command line, the environment variables, and the log.
//!
//! Owns: what can be set, and what each setting means, in words that `--help` shows. Must not: read the bootstrap configuration,
//! which is [`agent_api::Bootstrap`]'s. Promises: every setting has a default that is right on a real droplet.

use clap::{Args, Parser, Subcommand};
use model::DropletId;
use std::{ffi::OsString, io::IsTerminal, net::IpAddr, path::PathBuf};
use tracing_subscriber::EnvFilter;
use url::Url;

/// The agent on a Toolplane droplet: keeps the droplet's tool containers as the control plane wants them.
#[derive(Debug, Parser)]
#[command(name = "dtma", version, max_term_width = 100)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent (what dtma.service starts).
    #[command(after_long_help = RUN_HELP)]
    Run(Settings),
    /// Remove every container and network of this droplet from the engine.
    #[command(long_about = PURGE_HELP)]
    Purge(PurgeSettings),
    /// Become another program (the entrypoint of every container).
    #[command(long_about = EXEC_HELP)]
    Exec(ExecArguments),
}

const RUN_HELP: &str = "\
On a droplet nothing has to be set: user data wrote the configuration, and systemd starts the agent.

What it does, in this order:
  1. reads its bootstrap configuration, and makes its key in the state directory if there is none;
  2. asks the metadata service which droplet this is;
  3. takes up the desired set that it stored last, and keeps containers as that says;
  4. enrolls with the control plane, again and again until it is answered;
  5. serves its HTTPS API on port 30000 and the tools' ports, and sends heartbeats.

SIGTERM and Ctrl-C end the agent and leave its containers running. The next start takes them over.
Set DTMA_LOG to say how much is logged: error, warn, info (default), debug, or e.g. info,container_reconciler=debug.";

const PURGE_HELP: &str = "\
Remove every container and network of this droplet from the engine.

Only what carries the label io.toolplane.droplet with this droplet's id is touched. Stop the agent first: it would \
start its tools again. Images, the state directory and other droplets' containers stay.";

const EXEC_HELP: &str = "\
Become another program: dtma exec -- COMMAND [ARGUMENT]...

The agent mounts this binary into every container and makes this its entrypoint. It replaces itself by COMMAND, which \
keeps the process id, the environment and the open files. COMMAND is looked for in PATH unless it contains a slash.

Exit codes, when COMMAND could not be started, are a shell's: 127 it was not found, 126 it cannot be executed.";

/// Where things are. The same for `run` and `purge`.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The bootstrap configuration that user data wrote.
    #[arg(long, env = "DTMA_CONFIG", default_value = "/etc/toolplane/agent.json", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Where the key and the last desired set are kept. Made if it is missing.
    #[arg(long, env = "DTMA_STATE_DIR", default_value = "/var/lib/toolplane", value_name = "FOLDER")]
    pub(crate) state_dir: PathBuf,
    /// The address to serve the HTTPS API and the tools' ports on.
    #[arg(long, env = "DTMA_LISTEN", default_value = "0.0.0.0", value_name = "IP")]
    pub(crate) listen: IpAddr,
    #[command(flatten)]
    pub(crate) surroundings: Surroundings,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeSettings {
    /// The droplet whose containers go. Default: ask the metadata service.
    #[arg(long, value_name = "ID", value_parser = parse_droplet_id)]
    pub(crate) droplet: Option<DropletId>,
    #[command(flatten)]
    pub(crate) surroundings: Surroundings,
}

/// What is on the droplet beside the agent.
#[derive(Debug, Args)]
pub(crate) struct Surroundings {
    /// Base of the droplet's metadata service.
    #[arg(
        long,
        env = "DTMA_METADATA_URL",
        default_value = "http://169.254.169.254/metadata/v1",
        value_name = "URL"
    )]
    pub(crate) metadata_url: Url,
    /// The Docker engine: `unix:///path` or `tcp://address:port`.
    #[arg(
        long,
        env = "DOCKER_HOST",
        default_value = "unix:///var/run/docker.sock",
        value_name = "URL"
    )]
    pub(crate) docker_host: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    /// The program and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<OsString>,
}

fn parse_droplet_id(text: &str) -> Result<DropletId, std::num::ParseIntError> {
    text.trim().parse().map(DropletId)
}

/// Logs to standard error, which is systemd's journal on a droplet.
pub(crate) fn start_log() {
    let filter = EnvFilter::try_from_env("DTMA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn exec_takes_whatever_follows() {
        let parsed = CommandLine::try_parse_from(["dtma", "exec", "--", "/bin/tool", "--help", "-x"]).unwrap();
        let Command::Exec(arguments) = parsed.command else {
            panic!("{parsed:?}")
        };
        assert_eq!(arguments.command, ["/bin/tool", "--help", "-x"]);
        assert!(CommandLine::try_parse_from(["dtma", "exec", "--"]).is_err());
    }
}
