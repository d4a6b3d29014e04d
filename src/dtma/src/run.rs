//! `dtma run`: the agent's parts, put together.
//!
//! Owns: the order of starting and ending. Must not: hold anything that a part could. Promises: containers follow the stored desired
//! set before, and without, any word from the control plane; ending the agent leaves them running; a part that breaks ends the
//! agent, so that systemd starts a whole one.

use crate::{
    api::{self, About, Api},
    config::Settings,
    desired_store::DesiredStore,
    enrolment::Enrolment,
    file,
    heartbeat::Heart,
    identity, listener, metadata,
    proxy::Proxy,
    told::Told,
    vitals::Vitals,
};
use agent_api::{AGENT_PORT, BackendClient, Bootstrap};
use anyhow::{Context, bail};
use container_reconciler::{Config, ContainerReconciler, DesiredHandle, Engine, ReportBoard};
use hyper_util::service::TowerToHyperService;
use runtime::Controller;
use sd_notify::NotifyState;
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often every instance is looked at when nothing happens.
const RESYNC: Duration = Duration::from_mins(1);

/// How long the parts have to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(25);

/// Runs until SIGTERM or Ctrl-C.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let shutdown = on_signal()?;
    let Some(started) = shutdown.run_until_cancelled(start(&settings, &shutdown)).await else {
        return Ok(());
    };
    let parts = started?;
    tell_systemd(NotifyState::Ready);
    let outcome = attend(parts, &shutdown).await;
    tracing::info!("the agent ends; containers keep running");
    outcome
}

/// Starts every part. What is missing on the machine ends this with an error; what is away outside is waited for.
async fn start(settings: &Settings, shutdown: &CancellationToken) -> anyhow::Result<JoinSet<&'static str>> {
    let config = &settings.config;
    let json = std::fs::read(config).with_context(|| format!("reading the bootstrap configuration {}", config.display()))?;
    let bootstrap = Bootstrap::from_json(&json).with_context(|| format!("the bootstrap configuration {}", config.display()))?;
    let state_dir = &settings.state_dir;
    file::make_folder(state_dir).with_context(|| format!("making the state directory {}", state_dir.display()))?;
    let key = identity::load_or_create(state_dir)?;
    let api_address = (settings.listen, AGENT_PORT);
    let listener = TcpListener::bind(api_address)
        .await
        .with_context(|| format!("the agent's API cannot listen on {}:{AGENT_PORT}", settings.listen))?;
    let backend = BackendClient::new(&bootstrap)?;

    let environment = bootstrap.environment_id;
    let droplet = metadata::droplet_id(&settings.surroundings).await?;
    let boot = Uuid::new_v4();
    tracing::info!(%environment, %droplet, %boot, "the agent starts");
    let about = Arc::new(About {
        environment,
        droplet,
        boot,
    });

    let handle = DesiredHandle::new();
    let board = ReportBoard::new();
    let engine = Engine::new(settings.surroundings.docker_host.as_str());
    let vitals = Vitals::new(engine.clone(), state_dir.clone());
    let desired = DesiredStore::open(state_dir, environment, handle.clone());
    let (credentials, current) = watch::channel(None);

    let mut parts = JoinSet::new();
    let controller = containers(engine, &about, handle, board.clone())?;
    spawn(&mut parts, "containers", controller.run(shutdown.clone()));
    let proxy = Proxy::new(settings.listen, current.clone(), shutdown.clone());
    let told = Told::new(board.clone(), proxy.served());
    spawn(&mut parts, "proxy", proxy.run(board.endpoints()));
    let router = api::router(Api {
        credentials: current.clone(),
        desired: desired.clone(),
        told: told.clone(),
        vitals: vitals.clone(),
        about: about.clone(),
    });
    let service = TowerToHyperService::new(router);
    spawn(
        &mut parts,
        "API",
        listener::serve(listener, current, service, shutdown.clone()),
    );
    let heart = Heart {
        enrolment: Enrolment { backend, bootstrap, key },
        credentials,
        desired,
        told,
        vitals,
        about,
    };
    let until = shutdown.clone();
    spawn(&mut parts, "heartbeat", async move {
        // Nothing to end in order: a beat that is cut off is a beat that was missed.
        until.run_until_cancelled(heart.run()).await;
    });
    Ok(parts)
}

fn containers(
    engine: Engine,
    about: &About,
    desired: DesiredHandle,
    board: ReportBoard,
) -> anyhow::Result<Controller<ContainerReconciler>> {
    let config = Config {
        droplet_id: about.droplet,
        environment_id: about.environment,
        shim_path: std::env::current_exe().context("finding the agent's own binary")?,
        resync: RESYNC,
    };
    let reconciler = Arc::new(ContainerReconciler::new(engine, config, desired, board));
    let wakes = reconciler.wakes();
    Ok(Controller::new(reconciler, runtime::Config::default()).wakes(wakes))
}

fn spawn(parts: &mut JoinSet<&'static str>, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
    parts.spawn(async move {
        part.await;
        name
    });
}

/// Waits for the signal, then for all parts to end. A part that ends before the signal is broken.
async fn attend(mut parts: JoinSet<&'static str>, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let early = tokio::select! {
        // In this order: after the signal, parts end because they should.
        biased;
        () = shutdown.cancelled() => None,
        ended = parts.join_next() => ended,
    };
    tell_systemd(NotifyState::Stopping);
    shutdown.cancel();
    let rest = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, rest).await.is_err() {
        tracing::warn!("some part did not end in time");
    }
    match early {
        None => Ok(()),
        Some(Ok(name)) => bail!("the agent's {name} ended unexpectedly"),
        Some(Err(error)) => Err(error).context("a part of the agent panicked"),
    }
}

fn on_signal() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        token.cancel();
    });
    Ok(shutdown)
}

/// Does nothing where systemd does not listen.
fn tell_systemd(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
