//! What a reflector needs of whatever holds the rows.
//!
//! Owns: the contract. Must not: say how rows are stored or how changes are heard of.

use futures::Stream;
use std::{fmt::Debug, future::Future, hash::Hash};

/// Where rows come from.
pub trait Source: Send + Sync + 'static {
    /// Names a row.
    type Key: Clone + Eq + Hash + Debug + Send + Sync + Unpin + 'static;
    /// A row's content.
    type Value: Send + Sync + 'static;
    /// Why the source could not be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What the rows are, for metrics and logs: `environments`.
    const NAME: &'static str;

    /// Every row once, as of one moment that is not before the call. An error ends it.
    fn list(&self) -> impl Stream<Item = Result<(Self::Key, Self::Value), Self::Error>> + Send;

    /// The rows with these keys as they are now; `None` for one that is not there. A key that the answer leaves out is taken
    /// as not there.
    fn fetch(&self, keys: Vec<Self::Key>) -> impl Future<Output = Result<Fetched<Self::Key, Self::Value>, Self::Error>> + Send;

    /// What changes. The first item has to be [`Notification::Relist`], and to come as soon as every change from then on will
    /// be heard of: the full read that it asks for is the one that misses nothing. An error or the end means that the
    /// connection was lost; it is asked for again.
    fn listen(&self) -> impl Stream<Item = Result<Notification<Self::Key, Self::Value>, Self::Error>> + Send;
}

/// An answer of [`Source::fetch`].
pub type Fetched<K, V> = Vec<(K, Option<V>)>;

/// What a source says of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification<K, V> {
    /// This row was added, changed or removed.
    Changed(K),
    /// The same, with the row as it was read since the change and since the item before; `None` if it is not there. It spares the
    /// fetch where the connection that tells of a change can also read the row.
    Read(K, Option<V>),
    /// Anything may have changed.
    Relist,
}
