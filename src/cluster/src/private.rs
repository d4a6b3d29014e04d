//! The cluster itself: made, restarted, killed and removed.

use crate::{Error, account::Account, binaries::Binaries, directory::Directory, postmaster::Postmaster};
use nix::sys::signal::Signal;
use std::{
    env, fs,
    io::Read,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command, sync::Mutex, time::Instant};

const SUPERUSER: &str = "postgres";
/// Below the range that the kernel takes outgoing ports from, so that a restart finds its port free.
const PORTS: std::ops::RangeInclusive<u16> = 20_000..=29_999;
/// Bounds a hang; the backends of a killed server end within milliseconds.
const START_DEADLINE: Duration = Duration::from_mins(1);

/// How to make a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its directory is made; the system's folder for temporary files if nothing else is said. The account that PostgreSQL
    /// runs under must be able to enter it.
    pub base: PathBuf,
    /// Further settings, `postgresql.conf` style: they win over the built-in ones.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            base: env::temp_dir(),
            settings: Vec::new(),
        }
    }
}

/// A running private cluster. Dropping it ends the server and removes the data.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    account: Account,
    directory: Directory,
    settings: Vec<(String, String)>,
    password: String,
    port: u16,
    // Behind a lock so that a test may restart the server that other tasks hold the address of.
    postmaster: Mutex<Option<Postmaster>>,
}

impl Cluster {
    /// Makes a fresh cluster and waits until it takes connections.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let binaries = Binaries::find()?;
        let account = Account::choose()?;
        let directory = Directory::create(&options.base, account)?;
        let password = random_password()?;
        initdb(&binaries, account, &directory, &password).await?;
        let mut settings = built_in_settings();
        settings.extend(options.settings);
        let mut attempts = 0;
        let (port, postmaster) = loop {
            let port = free_port()?;
            match Postmaster::start(&binaries, account, &directory, port, &settings).await {
                Ok(postmaster) => break (port, postmaster),
                // Somebody took the port since it was found free.
                Err(Error::NotReady { log, .. }) if attempts < 5 && log.contains("could not bind") => attempts += 1,
                Err(error) => return Err(error),
            }
        };
        Ok(Self {
            binaries,
            account,
            directory,
            settings,
            password,
            port,
            postmaster: Mutex::new(Some(postmaster)),
        })
    }

    /// The address of a database, with the superuser's name and password in it. It stays the same over restarts.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The folder that everything of the cluster is in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes an empty database and returns its address.
    pub async fn create_database(&self, name: &str) -> Result<String, Error> {
        self.execute(&format!("create database {} template template0", quoted(name)))
            .await?;
        Ok(self.url(name))
    }

    /// Makes a copy of a database that nobody is connected to, and returns the copy's address.
    pub async fn copy_database(&self, name: &str, template: &str) -> Result<String, Error> {
        self.execute(&format!("create database {} template {}", quoted(name), quoted(template)))
            .await?;
        Ok(self.url(name))
    }

    /// Ends every connection, writes everything down, stops.
    pub async fn stop(&self) {
        self.end(Signal::SIGINT).await;
    }

    /// Kills the server as a crash of it would: nothing is written down, connections break off.
    pub async fn kill(&self) {
        self.end(Signal::SIGKILL).await;
    }

    /// Starts the server again, on the same port and data, after [`Self::stop`] or [`Self::kill`]. Nothing happens while it runs.
    pub async fn start_again(&self) -> Result<(), Error> {
        let mut postmaster = self.postmaster.lock().await;
        if postmaster.as_ref().is_some_and(Postmaster::runs) {
            return Ok(());
        }
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            match Postmaster::start(&self.binaries, self.account, &self.directory, self.port, &self.settings).await {
                Ok(started) => {
                    *postmaster = Some(started);
                    return Ok(());
                }
                // The backends of a killed server hold its memory for a moment longer, or somebody borrows the port.
                Err(Error::NotReady { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// [`Self::stop`] and [`Self::start_again`].
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await;
        self.start_again().await
    }

    async fn end(&self, signal: Signal) {
        if let Some(mut postmaster) = self.postmaster.lock().await.take() {
            postmaster.signal(signal);
            postmaster.ended().await;
        }
    }

    /// Runs statements as superuser in a database; gives what psql answers, such as `INSERT 0 1`.
    pub async fn sql(&self, database: &str, statements: &str) -> Result<String, Error> {
        let mut command = Command::new(&self.binaries.psql);
        // The password goes through the environment: arguments can be read by everybody on the machine.
        command
            .args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--host=127.0.0.1"])
            .arg(format!("--dbname={database}"))
            .arg(format!("--username={SUPERUSER}"))
            .arg(format!("--port={}", self.port))
            .env("PGPASSWORD", &self.password);
        run(command, "psql", statements).await
    }

    async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.sql("postgres", sql).await.map(drop)
    }

    #[cfg(test)]
    async fn pid(&self) -> Option<nix::unistd::Pid> {
        self.postmaster.lock().await.as_ref().map(Postmaster::pid)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(postmaster) = self.postmaster.get_mut() {
            postmaster.signal(Signal::SIGQUIT);
            postmaster.ended_blocking(Duration::from_secs(10));
        }
    }
}

/// The password goes over loopback as it is: nobody can listen there, and SCRAM's 4,096 rounds would take the client of a debug
/// build longer than most tests.
async fn initdb(binaries: &Binaries, account: Account, directory: &Directory, password: &str) -> Result<(), Error> {
    // A file, because another account may not open our standard input again; in a directory that is the account's alone.
    let password_file = directory.path().join("password");
    write_for(account, &password_file, password)?;
    let mut command = Command::from(account.command(binaries.initdb.as_os_str(), "KILL"));
    command
        .arg("--pgdata")
        .arg(directory.data())
        .arg("--pwfile")
        .arg(&password_file)
        .args([
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
            "--auth=password",
        ])
        .arg(format!("--username={SUPERUSER}"))
        .current_dir(directory.path());
    let done = run(command, "initdb", "").await;
    fs::remove_file(&password_file).map_err(directory_error(&password_file))?;
    done.map(drop)
}

fn write_for(account: Account, path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(directory_error(path))?;
    if let Some((uid, gid)) = account.ids() {
        nix::unistd::chown(path, Some(uid), Some(gid)).map_err(|errno| directory_error(path)(errno.into()))?;
    }
    Ok(())
}

fn directory_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Directory { path, source }
}

/// Nothing here has to survive the machine, and everything should be quick; but what was committed has to survive a kill of the
/// server, so commits are still written to the system before they are answered. TCP on loopback only.
fn built_in_settings() -> Vec<(String, String)> {
    [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("max_connections", "800"),
        ("shared_buffers", "128MB"),
        ("timezone", "UTC"),
        ("log_line_prefix", "%m [%p] %a "),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

async fn run(mut command: Command, program: &str, input: &str) -> Result<String, Error> {
    let started = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |source| Error::Spawn {
        program: if started == program {
            started.clone()
        } else {
            format!("{started}, which starts {program}")
        },
        source,
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ended without reading says why in its output.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let Output { status, stdout, stderr } = child.wait_with_output().await.map_err(failed)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
    }
    let output = [stdout, stderr].concat();
    Err(Error::Failed {
        program: program.to_owned(),
        output: String::from_utf8_lossy(&output).trim().to_owned(),
    })
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(directory_error(source))?;
    Ok(bytes)
}

fn random_password() -> Result<String, Error> {
    Ok(format!("{:032x}", u128::from_le_bytes(random_bytes()?)))
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16, Error> {
    let count = PORTS.end() - PORTS.start() + 1;
    let offset = u16::from_le_bytes(random_bytes()?) % count;
    let mut last = std::io::Error::other("no port tried");
    for step in 0..count {
        let port = PORTS.start() + (offset + step) % count;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(Error::Spawn {
        program: "postgres: no free port on 127.0.0.1".to_owned(),
        source: last,
    })
}

#[cfg(test)]
mod tests;
