//! Carrying out one action.
//!
//! Owns: the requests that change something on the engine, and the class of their errors. Must not: choose; what is to be done was
//! decided. Promises: every action can be repeated.

use crate::{
    Config,
    container::ContainerId,
    creation,
    desired::Wanted,
    engine::{Engine, EngineError},
    image::Image,
    labels, network,
    pulls::{Pulls, describe},
};
use model::InstanceId;
use runtime::Error;

/// One external effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin to pull an image; the next passes see how it goes.
    PullImage {
        /// By tag or digest.
        reference: String,
    },
    /// Create the droplet's network.
    CreateNetwork,
    /// Create the instance's container.
    CreateContainer {
        /// From this image.
        image: Image,
        /// The tool's command line.
        command: Vec<String>,
    },
    /// Start a container.
    StartContainer(Target),
    /// SIGTERM, grace, SIGKILL.
    StopContainer {
        /// Exactly this one.
        id: ContainerId,
        /// Seconds in between.
        grace_seconds: u32,
    },
    /// Thaw a frozen container.
    UnpauseContainer {
        /// Exactly this one.
        id: ContainerId,
    },
    /// Remove a container that does not run.
    RemoveContainer {
        /// Exactly this one.
        id: ContainerId,
    },
}

/// Which container to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One that was observed.
    Observed(ContainerId),
    /// The one that an action before this created.
    Created,
}

/// What acting needs.
pub(crate) struct Hands<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) config: &'a Config,
    pub(crate) pulls: &'a Pulls,
    /// Two instances never create the network at once: the engine would make two of the same name.
    pub(crate) network: &'a tokio::sync::Mutex<()>,
}

impl Hands<'_> {
    pub(crate) async fn carry_out(&self, key: InstanceId, wanted: &Wanted, action: &Action) -> Result<(), Error> {
        match action {
            Action::PullImage { reference } => {
                self.pulls.begin(reference);
                Ok(())
            }
            Action::CreateNetwork => self.create_network().await.map_err(|error| failed("NetworkFailed", error)),
            Action::CreateContainer { image, command } => self.create(key, wanted, image, command).await,
            Action::StartContainer(target) => {
                let container = match target {
                    Target::Observed(id) => id.0.clone(),
                    Target::Created => labels::container_name(self.config.droplet_id, key),
                };
                self.engine.start(&container).await.map_err(start_failed)
            }
            Action::StopContainer { id, grace_seconds } => {
                let stopped = self.engine.stop(id, *grace_seconds).await;
                stopped.map_err(|error| failed("StopFailed", error))
            }
            Action::UnpauseContainer { id } => {
                let thawed = self.engine.unpause(id).await;
                thawed.map_err(|error| failed("StartFailed", error))
            }
            Action::RemoveContainer { id } => {
                let removed = self.engine.remove(id, false).await;
                removed.map_err(|error| failed("RemoveFailed", error))
            }
        }
    }

    async fn create(&self, key: InstanceId, wanted: &Wanted, image: &Image, command: &[String]) -> Result<(), Error> {
        let Wanted::Instance(instance) = wanted else {
            return Err(Error::terminal("CreateFailed", "the instance is not in the desired set"));
        };
        let name = labels::container_name(self.config.droplet_id, key);
        let request = creation::request(self.config, instance, image, command);
        let created = self.engine.create(&name, request).await;
        created.map(drop).map_err(|error| failed("CreateFailed", error))
    }

    async fn create_network(&self) -> Result<(), EngineError> {
        let _one_at_a_time = self.network.lock().await;
        let name = labels::network_name(self.config.droplet_id);
        for found in self.engine.networks(self.config.droplet_id).await? {
            if network::is_ours(&found, &name) {
                return Ok(());
            }
            // It carries our label and is not as it should be; the engine refuses while a container uses it.
            self.engine.remove_network(found.id.as_deref().unwrap_or_default()).await?;
        }
        self.engine.create_network(network::request(self.config)).await
    }
}

/// The engine's own words about a missing init process name a file that nobody has heard of.
fn start_failed(error: EngineError) -> Error {
    if describe(&error).contains("docker-init") {
        return Error::Terminal {
            reason: "InitMissing",
            message: "the engine has no init process: install the package with `docker-init` (tini) on the droplet".to_owned(),
            source: Some(Box::new(error)),
        };
    }
    failed("StartFailed", error)
}

/// A request that the engine calls malformed will be malformed again.
fn failed(reason: &'static str, error: EngineError) -> Error {
    let message = describe(&error);
    if error.status() == Some(400) {
        return Error::Terminal {
            reason,
            message,
            source: Some(Box::new(error)),
        };
    }
    Error::Retriable {
        reason,
        message,
        after: None,
        source: Some(Box::new(error)),
    }
}
