//! The container engine: one method for each request that the agent makes.
//!
//! Owns: the connection, its version negotiation, and the classes of its errors. Must not: know what is wanted. Promises: a handle
//! needs no engine to be made; every method reaches the engine anew, and tells an engine that is away from one that refuses.

use crate::{container::ContainerId, labels};
use bollard::{
    Docker,
    container::LogOutput,
    errors::Error as BollardError,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerSummary, CreateImageInfo, EventMessage, ImageInspect, Network,
        NetworkCreateRequest,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
        ListNetworksOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use futures::{Stream, StreamExt, TryStreamExt};
use model::{DropletId, InstanceId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long one request may take, beside a stop, which may take its grace longer.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A cheap-clone handle on a container engine.
#[derive(Clone, Debug)]
pub struct Engine {
    host: Arc<str>,
    connection: Arc<Mutex<Option<Docker>>>,
}

/// Why a request to the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No answer, or none that makes sense: nothing is known.
    #[error("the container engine at {host} does not answer")]
    Away {
        /// Where it was looked for.
        host: Arc<str>,
        /// What lies beneath.
        #[source]
        source: BollardError,
    },
    /// It answered that it will not or cannot.
    #[error("the container engine answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// It began and then failed, as a pull does.
    #[error("{message}")]
    Failed {
        /// The engine's words.
        message: String,
    },
}

impl EngineError {
    /// The HTTP status of a refusal.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Away { .. } | Self::Failed { .. } => None,
        }
    }
}

type Filters = HashMap<String, Vec<String>>;

impl Engine {
    /// The engine at `host`: `unix:///var/run/docker.sock`, or `tcp://127.0.0.1:2375`. Does not connect yet.
    pub fn new(host: impl Into<Arc<str>>) -> Self {
        Self {
            host: host.into(),
            connection: Arc::default(),
        }
    }

    /// Where it is looked for.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The engine's version, such as `20.10.24`.
    pub async fn version(&self) -> Result<String, EngineError> {
        let version = self.docker().await?.version().await.map_err(|error| self.class(error))?;
        Ok(version.version.unwrap_or_default())
    }

    /// Forgets the negotiated version: the engine may come back as another one.
    pub(crate) fn reconnect(&self) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The ids and labels of all containers, in whatever state, that carry every one of the labels.
    pub(crate) async fn containers(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = Filters::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = self.docker().await?.list_containers(Some(options)).await;
        listed.map_err(|error| self.class(error))
    }

    /// Everything about one container; `None` when it is gone.
    pub(crate) async fn container(&self, id: &ContainerId) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let inspected = self.docker().await?.inspect_container(&id.0, None).await;
        self.present(inspected)
    }

    /// The last lines that a container wrote.
    pub(crate) async fn last_lines(&self, id: &ContainerId, lines: u32) -> Result<Vec<LogOutput>, EngineError> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let docker = self.docker().await?;
        let lines = docker.logs(&id.0, Some(options)).try_collect().await;
        lines.map_err(|error| self.class(error))
    }

    /// Creates a container.
    pub(crate) async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<ContainerId, EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = self.docker().await?.create_container(Some(options), body).await;
        created
            .map(|answer| ContainerId(answer.id))
            .map_err(|error| self.class(error))
    }

    /// Starts a container by full id or full name. One that runs already is fine.
    pub(crate) async fn start(&self, container: &str) -> Result<(), EngineError> {
        let started = self.docker().await?.start_container(container, None).await;
        self.done(started, &[304])
    }

    /// SIGTERM, then SIGKILL when the grace is over. Returns when the process has ended. One that is stopped or gone is fine.
    pub(crate) async fn stop(&self, id: &ContainerId, grace_seconds: u32) -> Result<(), EngineError> {
        let grace = i32::try_from(grace_seconds).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(grace).build();
        let docker = self.docker().await?;
        let patient = docker.with_timeout(TIMEOUT + Duration::from_secs(grace_seconds.into()));
        let stopped = patient.stop_container(&id.0, Some(options)).await;
        self.done(stopped, &[304, 404])
    }

    /// Thaws a container.
    pub(crate) async fn unpause(&self, id: &ContainerId) -> Result<(), EngineError> {
        let thawed = self.docker().await?.unpause_container(&id.0).await;
        self.done(thawed, &[])
    }

    /// Removes a stopped container and its anonymous volumes. One that is gone is fine.
    pub(crate) async fn remove(&self, id: &ContainerId, force: bool) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().v(true).force(force).build();
        let removed = self.docker().await?.remove_container(&id.0, Some(options)).await;
        self.done(removed, &[404])
    }

    /// The networks that carry this droplet's label.
    pub(crate) async fn networks(&self, droplet: DropletId) -> Result<Vec<Network>, EngineError> {
        let filters = Filters::from([("label".to_owned(), vec![labels::of_droplet(droplet)])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker().await?.list_networks(Some(options)).await;
        listed.map_err(|error| self.class(error))
    }

    /// Creates a network.
    pub(crate) async fn create_network(&self, body: NetworkCreateRequest) -> Result<(), EngineError> {
        let created = self.docker().await?.create_network(body).await;
        created.map(drop).map_err(|error| self.class(error))
    }

    /// Removes a network. One that is gone is fine.
    pub(crate) async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker().await?.remove_network(id).await;
        self.done(removed, &[404])
    }

    /// An image that the engine has; `None` when it has to be pulled.
    pub(crate) async fn image(&self, reference: &str) -> Result<Option<ImageInspect>, EngineError> {
        let inspected = self.docker().await?.inspect_image(reference).await;
        self.present(inspected)
    }

    /// Pulls an image; the stream carries its progress and ends when it is there. It begins within `patience`.
    pub(crate) async fn pull(
        &self,
        reference: &str,
        patience: Duration,
    ) -> Result<impl Stream<Item = Result<CreateImageInfo, EngineError>> + Send + use<>, EngineError> {
        let options = CreateImageOptionsBuilder::default().from_image(reference).build();
        let engine = self.clone();
        let docker = self.docker().await?.with_timeout(patience);
        let progress = docker.create_image(Some(options), None, None).boxed();
        Ok(progress.map(move |item| item.map_err(|error| engine.class(error))))
    }

    /// What happens to this droplet's containers, from `since` (seconds of Unix time) on.
    pub(crate) async fn events(
        &self,
        droplet: DropletId,
        since: i64,
    ) -> Result<impl Stream<Item = Result<EventMessage, EngineError>> + Send + use<>, EngineError> {
        let happenings = ["create", "start", "die", "oom", "pause", "unpause", "destroy"];
        let filters = Filters::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![labels::of_droplet(droplet)]),
            ("event".to_owned(), happenings.map(str::to_owned).to_vec()),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(&since.to_string())
            .filters(&filters)
            .build();
        let engine = self.clone();
        let events = self.docker().await?.events(Some(options)).boxed();
        Ok(events.map(move |item| item.map_err(|error| engine.class(error))))
    }

    async fn docker(&self) -> Result<Docker, EngineError> {
        let known = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = known {
            return Ok(docker);
        }
        let docker = Docker::connect_with_host(&self.host).map_err(|error| self.class(error))?;
        let negotiated = docker.with_timeout(TIMEOUT).negotiate_version().await;
        let docker = negotiated.map_err(|error| self.class(error))?;
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// 404 means that it is not there.
    fn present<T>(&self, answer: Result<T, BollardError>) -> Result<Option<T>, EngineError> {
        match answer.map_err(|error| self.class(error)) {
            Ok(value) => Ok(Some(value)),
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Some refusals say that there was nothing left to do.
    fn done(&self, answer: Result<(), BollardError>, fine: &[u16]) -> Result<(), EngineError> {
        match answer.map_err(|error| self.class(error)) {
            Err(EngineError::Refused { status, .. }) if fine.contains(&status) => Ok(()),
            other => other,
        }
    }

    fn class(&self, error: BollardError) -> EngineError {
        match error {
            BollardError::DockerResponseServerError { status_code, message } => EngineError::Refused {
                status: status_code,
                message,
            },
            BollardError::DockerStreamError { error } => EngineError::Failed { message: error },
            source => EngineError::Away {
                host: self.host.clone(),
                source,
            },
        }
    }
}

/// The labels that single out one droplet's containers, or those of one of its instances.
pub(crate) fn label_filters(droplet: DropletId, instance: Option<InstanceId>) -> Vec<String> {
    let instance = instance.map(labels::of_instance);
    std::iter::once(labels::of_droplet(droplet)).chain(instance).collect()
}
