//! Handing environments to whoever works on them. Owns: the subscribers. Promises: handing over never waits, and a subscriber that went
//! away is forgotten.

use futures::{Stream, stream};
use model::EnvironmentId;
use runtime::{Reason, Wake};
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Whoever wants to be told.
#[derive(Debug, Default)]
pub struct Wakes {
    subscribers: Mutex<Vec<UnboundedSender<EnvironmentId>>>,
}

impl Wakes {
    /// Hands these keys to every subscriber.
    pub fn wake(&self, keys: impl IntoIterator<Item = EnvironmentId>) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            subscribers.retain(|subscriber| subscriber.send(key).is_ok());
        }
    }

    /// Everything that is handed over from now on.
    pub fn subscribe(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        let (sender, receiver) = unbounded_channel();
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        stream::unfold(receiver, |mut receiver| async move {
            let key = receiver.recv().await?;
            Some((Wake::now(key, Reason::Related), receiver))
        })
    }
}
