//! `simulator`: the DigitalOcean simulator as a process of its own.

use anyhow::Context;
use clap::Parser;
use secrecy::SecretString;
use simulator::{Config, Settings, Simulator};
use std::{net::SocketAddr, path::PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A simulator of the DigitalOcean API. Its droplets are processes on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A loopback address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where to speak TLS as well; the certificate is in the state folder, in `ca.pem`.
    #[arg(long)]
    tls_listen: Option<SocketAddr>,
    /// A file with the token that clients must send.
    #[arg(long)]
    token_file: PathBuf,
    /// Where droplets have their disks. What a killed simulator left there is cleared.
    #[arg(long)]
    state_dir: PathBuf,
    /// The Docker engine of the droplets' agents.
    #[arg(long, env = "DOCKER_HOST", default_value = "unix:///var/run/docker.sock")]
    docker_host: String,
    /// The first droplet's id; random when absent.
    #[arg(long)]
    first_droplet_id: Option<u64>,
    /// Droplets become active without running the agent of their user data.
    #[arg(long)]
    no_agents: bool,
    /// From a create to `active`.
    #[arg(long)]
    boot_delay_ms: Option<u64>,
    /// From an action's start to its end.
    #[arg(long)]
    action_delay_ms: Option<u64>,
    /// From a delete to the droplet's end.
    #[arg(long)]
    delete_delay_ms: Option<u64>,
    /// From a change of a firewall to its being in force.
    #[arg(long)]
    firewall_delay_ms: Option<u64>,
    /// How many droplets the account may have.
    #[arg(long)]
    droplet_limit: Option<u32>,
    /// Requests in any minute before a 429.
    #[arg(long)]
    requests_per_minute: Option<u32>,
    /// Requests in any hour before a 429.
    #[arg(long)]
    requests_per_hour: Option<u32>,
    /// Any setting, as `GET /simulator/settings` shows them: `list_lag_ms=5000`, `minute_ms=1000`. Can be given again.
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    settings: Vec<String>,
    /// Have requests run into all kinds of faults; the seed decides which. Rules of your own: `POST /simulator/faults`.
    #[arg(long, value_name = "SEED")]
    storm: Option<u64>,
    /// How bad the storm is: at 1, about a fifth of all requests run into something, and half of the creates.
    #[arg(long, default_value_t = 0.3, requires = "storm")]
    storm_intensity: f64,
}

impl Arguments {
    fn config(self) -> anyhow::Result<Config> {
        let token = std::fs::read_to_string(&self.token_file);
        let token = token.with_context(|| format!("--token-file: {} cannot be read", self.token_file.display()))?;
        let mut config = Config::new(SecretString::from(token.trim()), self.state_dir);
        config.listen = self.listen;
        config.tls_listen = self.tls_listen;
        config.docker_host = self.docker_host;
        config.first_droplet_id = self.first_droplet_id;
        let settings = &mut config.settings;
        settings.boot_agents = !self.no_agents;
        for (setting, given) in [
            (&mut settings.boot_ms, self.boot_delay_ms),
            (&mut settings.action_ms, self.action_delay_ms),
            (&mut settings.delete_ms, self.delete_delay_ms),
            (&mut settings.firewall_ms, self.firewall_delay_ms),
        ] {
            *setting = given.unwrap_or(*setting);
        }
        for (setting, given) in [
            (&mut settings.droplet_limit, self.droplet_limit),
            (&mut settings.requests_per_minute, self.requests_per_minute),
            (&mut settings.requests_per_hour, self.requests_per_hour),
        ] {
            *setting = given.unwrap_or(*setting);
        }
        for given in &self.settings {
            *settings = changed(settings, given).with_context(|| format!("--set {given}"))?;
        }
        Ok(config)
    }
}

/// The settings with one of them changed by its name.
fn changed(settings: &Settings, given: &str) -> anyhow::Result<Settings> {
    let (name, value) = given.split_once('=').context("must be SETTING=VALUE")?;
    let mut all = serde_json::to_value(settings)?;
    all[name] = serde_json::from_str(value)?;
    Ok(serde_json::from_value(all)?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    let arguments = Arguments::parse();
    let storm = arguments.storm.map(|seed| (seed, arguments.storm_intensity));
    let config = arguments.config()?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let simulator = Simulator::start(config).await?;
    if let Some((seed, intensity)) = storm {
        simulator.storm(seed, intensity);
    }
    println!("simulator ready at {}", simulator.base_url());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    simulator.shutdown().await;
    Ok(())
}
