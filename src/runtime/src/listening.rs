//! The connection that notifications come over, as one stream that never ends.
//!
//! Owns: connecting again, with backoff. Must not: read rows. Promises: whatever was missed while there was no connection is
//! made up for by a full read, which is asked for before anything else that the next connection tells.

use crate::{
    backoff::{Backoff, Delays},
    chain::Chain,
    source::{Notification, Source},
};
use futures::{Stream, StreamExt, stream::BoxStream};
use std::time::Duration;
use tokio::time::sleep;

/// What came over the connection that notifications come over.
pub(crate) enum Heard<K, V> {
    Notification(Notification<K, V>),
    Lost,
}

/// All that is ever heard, over one connection after the other. Never ends.
pub(crate) fn listening<S: Source>(source: &S, backoff: Backoff) -> impl Stream<Item = Heard<S::Key, S::Value>> + Send + '_ {
    let line = Line {
        source,
        connection: None,
        heard: false,
        backoff,
        delays: backoff.delays(),
        wait: Duration::ZERO,
    };
    futures::stream::unfold(line, |mut line| async move {
        let heard = line.hear().await;
        Some((futures::stream::iter(heard), line))
    })
    .flatten()
}

type Told<S> = Notification<<S as Source>::Key, <S as Source>::Value>;
type Connection<'s, S> = BoxStream<'s, Result<Told<S>, <S as Source>::Error>>;

/// The connection that notifications come over, and what to do when there is none.
struct Line<'s, S: Source> {
    source: &'s S,
    connection: Option<Connection<'s, S>>,
    /// Whether anything came over this connection.
    heard: bool,
    backoff: Backoff,
    delays: Delays,
    /// Before the next connection.
    wait: Duration,
}

impl<S: Source> Line<'_, S> {
    /// What is heard next. The first that is heard over a connection, if it does not ask for a full read itself, is preceded
    /// by something that does.
    async fn hear(&mut self) -> Vec<Heard<S::Key, S::Value>> {
        if self.connection.is_none() {
            sleep(self.wait).await;
            self.heard = false;
        }
        let connection = self.connection.get_or_insert_with(|| self.source.listen().boxed());
        match connection.next().await {
            Some(Ok(notification)) if self.heard => vec![Heard::Notification(notification)],
            Some(Ok(notification)) => {
                self.heard = true;
                self.delays = self.backoff.delays();
                let relist = (!matches!(notification, Notification::Relist)).then_some(Notification::Relist);
                let both = relist.into_iter().chain([notification]);
                both.map(Heard::Notification).collect()
            }
            Some(Err(error)) => {
                tracing::warn!(source = S::NAME, error = %Chain(&error), "lost the connection that notifications come over");
                self.lost()
            }
            None => {
                tracing::warn!(source = S::NAME, "the connection that notifications come over ended");
                self.lost()
            }
        }
    }

    fn lost(&mut self) -> Vec<Heard<S::Key, S::Value>> {
        self.connection = None;
        self.wait = self.delays.next();
        vec![Heard::Lost]
    }
}
