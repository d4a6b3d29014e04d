//! Image pulls under way.
//!
//! Owns: one pull per image at a time, however many instances wait for it, and its progress. Must not: decide whether to pull.
//! Promises: a pull never holds up a pass, so that an instance can be stopped or changed meanwhile; an error inside the
//! engine's stream of progress is a failure; whoever follows is told when a pull has ended.

use crate::{
    engine::{Engine, EngineError},
    image,
};
use bollard::models::CreateImageInfo;
use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::broadcast, time::timeout};

/// A pull that says nothing for so long has failed.
const SILENCE: Duration = Duration::from_mins(3);

/// Where a pull stands. One that succeeded is forgotten: the engine has the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Under way.
    Running {
        /// The engine's last words, such as `Downloading`.
        progress: String,
    },
    /// It failed.
    Failed {
        /// Why.
        message: String,
        /// When.
        at: Timestamp,
    },
}

/// All pulls of one agent.
#[derive(Clone, Debug)]
pub(crate) struct Pulls {
    engine: Engine,
    states: Arc<Mutex<HashMap<String, Pull>>>,
    ended: broadcast::Sender<String>,
}

impl Pulls {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            states: Arc::default(),
            ended: broadcast::Sender::new(64),
        }
    }

    /// Where the pull of an image stands; `None` when there is none.
    pub(crate) fn get(&self, reference: &str) -> Option<Pull> {
        self.lock().get(reference).cloned()
    }

    /// The references whose pulls end from now on.
    pub(crate) fn ended(&self) -> broadcast::Receiver<String> {
        self.ended.subscribe()
    }

    /// Begins to pull; joins a pull of the same image that is under way.
    pub(crate) fn begin(&self, reference: &str) {
        let mut states = self.lock();
        if let Some(Pull::Running { .. }) = states.get(reference) {
            return;
        }
        let progress = String::new();
        states.insert(reference.to_owned(), Pull::Running { progress });
        drop(states);
        tokio::spawn(self.clone().run(reference.to_owned()));
    }

    async fn run(self, reference: String) {
        tracing::info!(image = reference, "pulling");
        let outcome = self.pull(&reference).await;
        match outcome {
            Ok(()) => {
                tracing::info!(image = reference, "pulled");
                self.lock().remove(&reference);
            }
            Err(error) => {
                let message = describe(&error);
                tracing::warn!(image = reference, message, "pull failed");
                let at = Timestamp::now();
                self.lock().insert(reference.clone(), Pull::Failed { message, at });
            }
        }
        // Without a follower there is nobody to tell.
        let _ = self.ended.send(reference);
    }

    async fn pull(&self, reference: &str) -> Result<(), EngineError> {
        let progress = self.engine.pull(&image::explicit(reference), SILENCE).await?;
        pin_mut!(progress);
        loop {
            let info = match timeout(SILENCE, progress.next()).await {
                Ok(Some(info)) => info?,
                Ok(None) => break,
                Err(_) => return Err(failed(format!("no progress for {} s", SILENCE.as_secs()))),
            };
            if let CreateImageInfo {
                status: Some(status), ..
            } = info
            {
                let progress = Pull::Running { progress: status };
                self.lock().insert(reference.to_owned(), progress);
            }
        }
        // A pull that ends well and leaves nothing would be begun again at once, for ever.
        let image = self.engine.image(reference).await?;
        image
            .map(drop)
            .ok_or_else(|| failed("the pull ended well, and the image is not there".to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pull>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(message: String) -> EngineError {
    EngineError::Failed { message }
}

/// An error with all that lies beneath it, in one sentence.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut beneath = error.source();
    while let Some(error) = beneath {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        beneath = error.source();
    }
    text
}
