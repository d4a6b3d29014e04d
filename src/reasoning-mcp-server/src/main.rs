//! `reasoning-mcp-server`: an MCP server with which an agent thinks in steps that it can revise, branch and read back.
//!
//! This file owns the flags and the wiring. The parts: [`graph`] is what thoughts, revisions and branches mean, [`sessions`] how many
//! chains are held and how long, [`tools`] the MCP tools, [`http`] the routes and who is let in.

mod graph;
mod http;
mod sessions;
mod tools;

use crate::{
    graph::Limits,
    http::Allowed,
    sessions::{Bounds, Sessions},
};
use anyhow::Context;
use clap::Parser;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What this build calls itself unless it is told otherwise when it runs.
const BUILT_VERSION: &str = match option_env!("REASONING_MCP_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// How long calls that came in before SIGTERM have to be answered.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How often expired sessions are looked for, besides at every call.
const EXPIRY_TICK: Duration = Duration::from_secs(30);

/// An MCP server (streamable HTTP, at /mcp) for stepwise thinking: thoughts, revisions and branches, kept for the length of a session.
#[derive(Debug, Parser)]
#[command(name = "reasoning-mcp-server", disable_version_flag = true)]
struct Flags {
    /// Address to listen on. The default is meant for a container, where who can reach it is up to what publishes the port.
    #[arg(long, env = "REASONING_MCP_LISTEN", default_value = "0.0.0.0", value_name = "IP")]
    listen: IpAddr,
    /// Port to listen on; 0 takes a free one and prints it.
    #[arg(long, env = "REASONING_MCP_PORT", default_value_t = 8080)]
    port: u16,
    /// Host names to be called by, with or without a port, `*` for all. Addresses and `localhost` are always allowed.
    #[arg(
        long = "allowed-host",
        env = "REASONING_MCP_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    allowed_hosts: Vec<String>,
    /// Origins of browser pages that may call, such as `https://app.example.com:443` or `http://localhost:*`. Default: none.
    #[arg(
        long = "allowed-origin",
        env = "REASONING_MCP_ALLOWED_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGIN"
    )]
    allowed_origins: Vec<String>,
    /// Sessions held at once; one more pushes out the one unused for longest.
    #[arg(long, env = "REASONING_MCP_MAX_SESSIONS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions: u32,
    /// Thoughts that a session takes.
    #[arg(long, env = "REASONING_MCP_MAX_THOUGHTS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_thoughts: u32,
    /// Seconds for which an unused session is held.
    #[arg(long, env = "REASONING_MCP_SESSION_TTL_SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    session_ttl_seconds: u64,
    /// What is logged, such as `warn` or `info,rmcp=debug`. With `rmcp=debug` calls are logged with the thoughts in them.
    #[arg(long, env = "REASONING_MCP_LOG", default_value = "info,rmcp=warn", value_name = "FILTER")]
    log: String,
    /// The version that the server calls itself; an empty one counts as none, as an image built without a version has it.
    #[arg(long, env = "REASONING_MCP_VERSION", default_value = BUILT_VERSION)]
    server_version: String,
    /// Print the version and leave.
    #[arg(long, short = 'V')]
    version: bool,
}

impl Flags {
    fn server_version(&self) -> &str {
        if self.server_version.is_empty() {
            BUILT_VERSION
        } else {
            &self.server_version
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            sessions: usize::try_from(self.max_sessions).unwrap_or(usize::MAX),
            time_to_live: Duration::from_secs(self.session_ttl_seconds),
            session: Limits {
                thoughts: usize::try_from(self.max_thoughts).unwrap_or(usize::MAX),
                branches: 32,
                thought_bytes: 16 * 1024,
                session_bytes: 256 * 1024,
            },
        }
    }
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    if flags.version {
        println!("reasoning-mcp-server {}", flags.server_version());
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&flags.log))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(flags))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let sessions = Arc::new(Mutex::new(Sessions::new(flags.bounds())));
    let version = flags.server_version().to_owned();
    let allowed = Allowed {
        hosts: flags.allowed_hosts,
        origins: flags.allowed_origins,
    };
    let router = http::router(version, sessions.clone(), allowed);

    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let listener = TcpListener::bind((flags.listen, flags.port))
        .await
        .with_context(|| format!("cannot listen on {}, port {}", flags.listen, flags.port))?;
    let address = listener.local_addr().context("cannot read the address listened on")?;
    println!("listening on http://{address}/mcp");

    tokio::spawn(expire(sessions));
    let graceful = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        ended = graceful.into_future() => ended.context("the server failed"),
        () = async { stop.cancelled().await; tokio::time::sleep(SHUTDOWN_GRACE).await } => {
            tracing::warn!("some connections are still open: leaving all the same");
            Ok(())
        }
    }
}

/// Cancels at SIGTERM or SIGINT. As process 1 of a container nothing would happen at either unless it is asked for.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

async fn expire(sessions: Arc<Mutex<Sessions>>) {
    let mut tick = tokio::time::interval(EXPIRY_TICK);
    loop {
        tick.tick().await;
        sessions.lock().unwrap_or_else(PoisonError::into_inner).expire(Instant::now());
    }
}
