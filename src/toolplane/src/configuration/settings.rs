//! The settings as values.

use super::{
    error::Error,
    layers::Layers,
    table::{self, Setting},
};
use firewall_reconciler::rules::MOST_SOURCES;
use ipnet::IpNet;
use model::InstallationId;
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use url::Url;

/// Every setting, checked. What has no default and was not set is `None`; a command that needs it asks by `require_...`.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) database_url: Option<SecretString>,
    pub(crate) digitalocean_token: Option<SecretString>,
    pub(crate) digitalocean_url: Url,
    pub(crate) master_key: Option<SecretString>,
    pub(crate) installation: InstallationId,
    pub(crate) listen: SocketAddr,
    pub(crate) dashboard_listen: Option<SocketAddr>,
    pub(crate) public_url: Url,
    pub(crate) plain_http: bool,
    pub(crate) agent_binary: PathBuf,
    pub(crate) backend_cidrs: Vec<IpNet>,
    pub(crate) admin_cidrs: Vec<IpNet>,
    pub(crate) ssh_keys: Vec<String>,
    pub(crate) digitalocean_project: Option<String>,
    pub(crate) resync: Duration,
    pub(crate) lease: Duration,
    pub(crate) lag_window: Duration,
    pub(crate) fleet_sweep: Duration,
    pub(crate) breaker_percent: u32,
    pub(crate) heartbeat: Duration,
    pub(crate) stop_deadline: Duration,
    pub(crate) launch_deadline: Duration,
}

const SECONDS: &str = "a whole number of seconds from 1 to 86400";
const ADDRESS: &str = "an address and a port, such as 127.0.0.1:8443 or [::1]:8443";

impl Settings {
    /// From this process's environment, and the file that `config` or `TOOLPLANE_CONFIG` names.
    pub(crate) fn load(flags: &BTreeMap<String, String>, config: Option<&Path>) -> Result<Self, Error> {
        // A variable that is not UTF-8 cannot be one of ours.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::resolve(flags, environment.collect(), config)
    }

    pub(super) fn resolve(
        flags: &BTreeMap<String, String>,
        environment: HashMap<String, String>,
        config: Option<&Path>,
    ) -> Result<Self, Error> {
        let named = environment
            .get("TOOLPLANE_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let layers = Layers::merge(flags, environment, config.or(named.as_deref()))?;
        let listen: SocketAddr = required(&layers, "listen", ADDRESS)?;
        let plain_http: bool = required(&layers, "plain_http", "true or false")?;
        Ok(Self {
            database_url: layers.secret(
                entry("database_url"),
                "postgres://user:password@host:5432/database",
                check_database_url,
            )?,
            digitalocean_token: layers.secret(entry("digitalocean_token"), "a token without spaces", check_token)?,
            digitalocean_url: required_url(&layers, "digitalocean_url", &["https", "http"])?,
            master_key: layers.secret(
                entry("master_key"),
                "64 hex digits; `openssl rand -hex 32` prints some",
                check_master_key,
            )?,
            installation: installation(&layers)?,
            listen,
            dashboard_listen: layers.parse("dashboard_listen", ADDRESS)?,
            public_url: public_url(&layers, listen, plain_http)?,
            plain_http,
            agent_binary: layers.parse("agent_binary", "a path")?.unwrap_or_else(agent_beside_us),
            backend_cidrs: cidrs(&layers, "backend_cidrs")?,
            admin_cidrs: cidrs(&layers, "admin_cidrs")?,
            ssh_keys: ssh_keys(&layers)?,
            digitalocean_project: layers.parse("digitalocean_project", "a project's id or name")?,
            resync: seconds(&layers, "resync_seconds")?,
            lease: seconds(&layers, "lease_seconds")?,
            lag_window: seconds(&layers, "lag_window_seconds")?,
            fleet_sweep: seconds(&layers, "fleet_sweep_seconds")?,
            breaker_percent: percent(&layers, "breaker_percent")?,
            heartbeat: seconds(&layers, "heartbeat_seconds")?,
            stop_deadline: seconds(&layers, "stop_deadline_seconds")?,
            launch_deadline: seconds(&layers, "launch_deadline_seconds")?,
        })
    }

    /// The database's address.
    pub(crate) fn require_database_url(&self) -> Result<&SecretString, Error> {
        self.database_url
            .as_ref()
            .ok_or_else(|| Error::missing(entry("database_url")))
    }

    /// The token for DigitalOcean.
    pub(crate) fn require_digitalocean_token(&self) -> Result<&SecretString, Error> {
        self.digitalocean_token
            .as_ref()
            .ok_or_else(|| Error::missing(entry("digitalocean_token")))
    }

    /// The master key, as 64 hex digits.
    pub(crate) fn require_master_key(&self) -> Result<&SecretString, Error> {
        self.master_key.as_ref().ok_or_else(|| Error::missing(entry("master_key")))
    }

    /// From where droplets are reached. There is no default: whoever means everywhere has to say so.
    pub(crate) fn require_backend_cidrs(&self) -> Result<&[IpNet], Error> {
        if self.backend_cidrs.is_empty() {
            return Err(Error::missing(entry("backend_cidrs")));
        }
        Ok(&self.backend_cidrs)
    }
}

fn entry(name: &'static str) -> &'static Setting {
    table::find(name).expect("every setting is in the table")
}

fn required<T: std::str::FromStr<Err: ToString>>(layers: &Layers, name: &'static str, right: &str) -> Result<T, Error> {
    layers.parse(name, right)?.ok_or_else(|| Error::missing(entry(name)))
}

fn installation(layers: &Layers) -> Result<InstallationId, Error> {
    let right = "1 to 32 of a-z, 0-9 and '-', starting with a letter";
    let parsed = layers.with("installation", right, |text| {
        text.parse().map_err(|_| "not spelled so".to_owned())
    })?;
    parsed.ok_or_else(|| Error::missing(entry("installation")))
}

fn seconds(layers: &Layers, name: &'static str) -> Result<Duration, Error> {
    let number = layers.with(name, SECONDS, |text| match text.parse::<u32>() {
        Ok(number) if (1..=86_400).contains(&number) => Ok(number),
        Ok(_) => Err("out of range".to_owned()),
        Err(error) => Err(error.to_string()),
    })?;
    let number = number.ok_or_else(|| Error::missing(entry(name)))?;
    Ok(Duration::from_secs(number.into()))
}

fn percent(layers: &Layers, name: &'static str) -> Result<u32, Error> {
    let number = layers.with(name, "a whole number from 1 to 100", |text| match text.parse::<u32>() {
        Ok(number) if (1..=100).contains(&number) => Ok(number),
        Ok(_) => Err("out of range".to_owned()),
        Err(error) => Err(error.to_string()),
    })?;
    number.ok_or_else(|| Error::missing(entry(name)))
}

fn cidrs(layers: &Layers, name: &'static str) -> Result<Vec<IpNet>, Error> {
    let right = "networks with commas between, such as 203.0.113.0/24,2001:db8::/32";
    let parsed = layers.with(name, right, |text| {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let networks = parts.map(|part| match part.parse::<IpNet>() {
            Ok(network) if network.trunc() == network => Ok(network),
            Ok(network) => Err(format!(
                "{part} has bits behind its prefix; the network is {}",
                network.trunc()
            )),
            Err(_) => Err(format!("{part} is no network")),
        });
        let networks = networks.collect::<Result<Vec<_>, _>>()?;
        if networks.len() > MOST_SOURCES {
            return Err(format!(
                "these are {}, and DigitalOcean takes {MOST_SOURCES} in a rule",
                networks.len()
            ));
        }
        Ok(networks)
    })?;
    Ok(parsed.unwrap_or_default())
}

fn ssh_keys(layers: &Layers) -> Result<Vec<String>, Error> {
    let right = "numbers or fingerprints with commas between, as https://cloud.digitalocean.com/account/security lists them";
    let parsed = layers.with("ssh_keys", right, |text| {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let spelled = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        let keys = parts.map(|part| {
            if spelled(part) {
                Ok(part.to_owned())
            } else {
                Err(format!("{part} is neither"))
            }
        });
        keys.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(parsed.unwrap_or_default())
}

fn url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error: url::ParseError| error.to_string())?;
    if !schemes.contains(&url.scheme()) || url.host().is_none() {
        return Err(format!("not {} with a host", schemes.join(" or ")));
    }
    Ok(url)
}

fn required_url(layers: &Layers, name: &'static str, schemes: &[&str]) -> Result<Url, Error> {
    let right = format!("a URL such as {}://host", schemes[0]);
    let parsed = layers.with(name, &right, |text| url(text, schemes))?;
    parsed.ok_or_else(|| Error::missing(entry(name)))
}

/// Agents speak TLS only, so without our own TLS somebody else's must be named.
fn public_url(layers: &Layers, listen: SocketAddr, plain_http: bool) -> Result<Url, Error> {
    let right = "the https:// URL where droplets reach this API";
    let set = layers.with("public_url", right, |text| url(text, &["https"]))?;
    match set {
        Some(url) => Ok(url),
        None if plain_http => Err(Error::Missing {
            name: "public_url",
            help: "with plain_http something else terminates TLS: set --public-url or TOOLPLANE_PUBLIC_URL to its https:// URL"
                .to_owned(),
        }),
        None => url(&format!("https://{listen}"), &["https"]).map_err(|wrong| Error::Invalid {
            name: "public_url",
            wrong,
            right: right.to_owned(),
            origin: "listen".to_owned(),
        }),
    }
}

fn check_database_url(text: &str) -> Result<(), String> {
    url(text, &["postgres", "postgresql"]).map(drop)
}

fn check_token(text: &str) -> Result<(), String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("contains a space or a character that cannot be in a token".to_owned())
    }
}

fn check_master_key(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if length != 64 {
        return Err(format!("{length} characters long"));
    }
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err("contains a character that is no hex digit".to_owned())
    }
}

fn agent_beside_us() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|us| Some(us.parent()?.join("dtma")));
    beside.unwrap_or_else(|| PathBuf::from("dtma"))
}
