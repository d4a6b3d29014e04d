//! What a process sends to the outside, and how its fate is told.
//!
//! Owns: requests and the futures that wait for their answers. Must not: choose what goes wrong; the simulation does. Promises: a
//! pass that sends something stands still until its answer is there, so that anything may happen in between; a pass that is dropped
//! hears nothing any more, but what it sent may still arrive.

use crate::world::World;
use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

/// Whom a request is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// DigitalOcean; a read.
    CloudRead,
    /// DigitalOcean; it may change something there.
    CloudWrite,
    /// The database.
    Database,
    /// An agent.
    Agent,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answered in time: nobody knows whether it arrived.
    Lost,
    /// 429: surely without effect.
    Limited,
    /// 5xx: it may have had its effect.
    Unavailable,
}

/// The circumstances in which a request arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Which replica sent it.
    pub replica: usize,
    /// It was under way for longer than requests are, because its process was stopped in the middle of sending.
    pub late: bool,
}

type Landing = Box<dyn FnOnce(&mut World, &Arrival) -> String + Send>;
type Answering = Box<dyn FnOnce(Result<(), Trouble>) + Send>;

/// A request on its way.
pub struct Request {
    /// Whom it reaches.
    pub to: To,
    /// What it asks, for the story.
    pub what: String,
    /// Has its effect, and tells what came of it.
    pub land: Landing,
    /// Hands the answer, or the want of one, to whoever waits.
    pub answer: Answering,
}

/// The sending end of one process.
#[derive(Default)]
pub struct Wire(Mutex<Vec<Request>>);

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    verdict: Option<Result<(), Trouble>>,
}

/// Waits for an answer.
pub struct Call<T>(Arc<Mutex<Slot<T>>>);

fn open<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Sends a request: `effect` happens when it arrives, and what it returns is the answer.
    pub fn send<T: Debug + Send + 'static>(
        &self,
        to: To,
        what: String,
        effect: impl FnOnce(&mut World, &Arrival) -> T + Send + 'static,
    ) -> Call<T> {
        let slot = Arc::new(Mutex::new(Slot {
            value: None,
            verdict: None,
        }));
        let (landing, answering) = (Arc::clone(&slot), Arc::clone(&slot));
        let land = Box::new(move |world: &mut World, arrival: &Arrival| {
            let value = effect(world, arrival);
            let told = if world.story.is_told() { brief(&value) } else { String::new() };
            open(&landing).value = Some(value);
            told
        });
        let answer = Box::new(move |verdict| open(&answering).verdict = Some(verdict));
        open(&self.0).push(Request { to, what, land, answer });
        Call(slot)
    }

    /// What was sent since this was last asked.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *open(&self.0))
    }
}

/// An answer in a few words: whole records would drown the story.
fn brief(value: &impl Debug) -> String {
    let mut text = format!("{value:?}");
    if let Some((cut, _)) = text.char_indices().nth(160) {
        text.truncate(cut);
        text.push_str("...");
    }
    text
}

impl<T> Future for Call<T> {
    type Output = Result<T, Trouble>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = open(&self.0);
        match slot.verdict.take() {
            None => Poll::Pending,
            Some(Err(trouble)) => Poll::Ready(Err(trouble)),
            // What answers well has arrived before.
            Some(Ok(())) => Poll::Ready(slot.value.take().ok_or(Trouble::Lost)),
        }
    }
}
