//! The table of settings: the one place that flags, help, environment variables and the file's keys are made from.

/// Sets of [`Setting::group`]s, as bits: a command offers flags for the groups that it uses.
pub(crate) mod groups {
    /// Where the rows are.
    pub(crate) const DATABASE: u8 = 1;
    /// DigitalOcean.
    pub(crate) const CLOUD: u8 = 2;
    /// What only the control plane itself needs.
    pub(crate) const SERVER: u8 = 4;
    /// What decisions are made by.
    pub(crate) const POLICY: u8 = 8;
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// `database_url`; the flag is `--database-url`, the variable `TOOLPLANE_DATABASE_URL`.
    pub(crate) name: &'static str,
    /// One of [`groups`].
    pub(crate) group: u8,
    /// A secret can also be read from a file named by `<name>_file`, and has no flag of its own: everyone on a machine can read
    /// its command lines.
    pub(crate) secret: bool,
    /// What stands for the value in the help.
    pub(crate) value: &'static str,
    /// Taken when nobody says anything.
    pub(crate) default: Option<&'static str>,
    /// For the help.
    pub(crate) help: &'static str,
}

impl Setting {
    pub(crate) fn flag(&self) -> String {
        if self.secret {
            flag(&file_key(self.name))
        } else {
            flag(self.name)
        }
    }

    pub(crate) fn variable(&self) -> String {
        variable(self.name)
    }
}

pub(crate) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

pub(crate) fn variable(key: &str) -> String {
    format!("TOOLPLANE_{}", key.to_uppercase())
}

/// The key that names a file with a secret in it.
pub(crate) fn file_key(name: &str) -> String {
    format!("{name}_file")
}

/// The setting that a key of the file or the environment belongs to.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    let secret = key.strip_suffix("_file");
    SETTINGS
        .iter()
        .find(|setting| setting.name == key || (setting.secret && Some(setting.name) == secret))
}

const fn setting(name: &'static str, group: u8, value: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        group,
        secret: false,
        value,
        default: None,
        help,
    }
}

impl Setting {
    const fn or(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// Every setting, in the order of the help.
pub(crate) const SETTINGS: &[Setting] = &[
    setting(
        "database_url",
        groups::DATABASE,
        "URL",
        "PostgreSQL, such as postgres://user:password@host:5432/database; not a transaction-mode pooler",
    )
    .secret(),
    setting(
        "digitalocean_token",
        groups::CLOUD,
        "TOKEN",
        "DigitalOcean API token with read and write access",
    )
    .secret(),
    setting("digitalocean_url", groups::CLOUD, "URL", "DigitalOcean's API").or("https://api.digitalocean.com"),
    setting(
        "master_key",
        groups::SERVER,
        "HEX",
        "64 hex digits, the root of every token and certificate; make one with `openssl rand -hex 32`",
    )
    .secret(),
    setting(
        "installation",
        groups::POLICY,
        "NAME",
        "names this installation within the DigitalOcean account",
    )
    .or("default"),
    setting("listen", groups::SERVER, "IP:PORT", "where the API listens").or("127.0.0.1:8443"),
    setting(
        "dashboard_listen",
        groups::SERVER,
        "IP:PORT",
        "where the dashboard listens, without authentication; off unless set",
    ),
    setting(
        "public_url",
        groups::SERVER,
        "URL",
        "where droplets reach the API; https://<listen> unless set",
    ),
    setting(
        "plain_http",
        groups::SERVER,
        "BOOL",
        "serve HTTP, behind a proxy that terminates TLS for public_url",
    )
    .or("false"),
    setting(
        "agent_binary",
        groups::SERVER,
        "PATH",
        "the dtma binary that droplets download; the one beside toolplane unless set",
    ),
    setting(
        "backend_cidrs",
        groups::POLICY,
        "CIDR,...",
        "from where the control plane and callers of tools reach droplets; their firewalls let nobody else in. `serve` needs it",
    ),
    setting(
        "admin_cidrs",
        groups::POLICY,
        "CIDR,...",
        "from where SSH to droplets is let in; nowhere unless set",
    ),
    setting(
        "ssh_keys",
        groups::SERVER,
        "ID,...",
        "ids or fingerprints of keys in the DigitalOcean account that may log in to droplets; none unless set",
    ),
    setting(
        "digitalocean_project",
        groups::SERVER,
        "PROJECT",
        "id or name of the project that droplets are put into; the account's default one unless set",
    ),
    setting(
        "resync_seconds",
        groups::POLICY,
        "SECONDS",
        "every row is read again at this period, whatever was notified",
    )
    .or("300"),
    setting(
        "lease_seconds",
        groups::SERVER,
        "SECONDS",
        "how long a replica owns its shards without renewing",
    )
    .or("15"),
    setting(
        "lag_window_seconds",
        groups::POLICY,
        "SECONDS",
        "how long a droplet may take to show in lists after an unclear answer; none is created again before",
    )
    .or("120"),
    setting(
        "fleet_sweep_seconds",
        groups::POLICY,
        "SECONDS",
        "every droplet and firewall is listed at this period, once for all replicas",
    )
    .or("30"),
    setting(
        "breaker_percent",
        groups::POLICY,
        "PERCENT",
        "when more than this share of droplets is missing at once, nothing is created or deleted for it until that is confirmed",
    )
    .or("20"),
    setting("heartbeat_seconds", groups::POLICY, "SECONDS", "how often agents report").or("10"),
    setting(
        "stop_deadline_seconds",
        groups::POLICY,
        "SECONDS",
        "how long tools may take to stop before their droplet is destroyed",
    )
    .or("60"),
    setting(
        "launch_deadline_seconds",
        groups::POLICY,
        "SECONDS",
        "how long a droplet may take until its agent reports",
    )
    .or("600"),
];
