//! Notifications of the channel `toolplane` as a stream. Triggers send them, `<kind> <uuid>`, when a change commits.
//!
//! A lost connection ends the stream with an error, never silently: what was sent in between is gone, and whoever listens has to
//! read everything again.

use crate::{Database, Error};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use model::{CatalogId, EnvironmentId};
use sqlx::postgres::{PgListener, PgNotification};

/// Where triggers notify.
pub(crate) const CHANNEL: &str = "toolplane";

/// What the stream says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// From here on nothing is missed. Always the first.
    Listening,
    /// An environment, or something that belongs to it.
    Environment(EnvironmentId),
    /// A catalog entry.
    Catalog(CatalogId),
    /// A sweep was stored.
    Fleet,
}

impl Database {
    /// An item for each change that is told of, and one when that begins; for those who then read what they show. A lost
    /// connection ends it with an error.
    pub fn changes(&self) -> impl Stream<Item = Result<(), Error>> + Send + 'static {
        listen(self).try_filter_map(async |heard| {
            Ok(match heard {
                Heard::Listening | Heard::Environment(_) | Heard::Catalog(_) => Some(()),
                // Of a fleet that is as it was.
                Heard::Fleet => None,
            })
        })
    }
}

/// Listens on a connection of its own from the pool until that is lost.
pub(crate) fn listen(database: &Database) -> impl Stream<Item = Result<Heard, Error>> + Send + 'static {
    stream::once(Listener::connect(database.clone()))
        .map_ok(|listener| {
            let heard = stream::try_unfold(listener, async |mut listener| Ok(Some((listener.heard().await?, listener))));
            stream::once(async { Ok(Heard::Listening) }).chain(heard)
        })
        .try_flatten()
}

/// A connection that listens. A lost one is an error of whatever is asked of it.
pub(crate) struct Listener {
    connection: PgListener,
    /// Taken from the connection, and not yet told.
    next: Option<PgNotification>,
}

impl Listener {
    /// From here on nothing is missed.
    pub(crate) async fn connect(database: Database) -> Result<Self, Error> {
        let mut connection = PgListener::connect_with(&database.pool).await?;
        // A reconnection would hide that notifications were lost.
        connection.eager_reconnect(false);
        connection.listen(CHANNEL).await?;
        Ok(Self { connection, next: None })
    }

    /// What is told next; never [`Heard::Listening`].
    pub(crate) async fn heard(&mut self) -> Result<Heard, Error> {
        loop {
            let next = match self.next.take() {
                Some(next) => next,
                None => self.connection.try_recv().await?.ok_or(Error::ListenLost)?,
            };
            if let Some(heard) = understood(next.payload()) {
                return Ok(heard);
            }
        }
    }

    /// Whether more has come already, as far as it was received.
    pub(crate) fn hears_more(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.connection.next_buffered();
        }
        self.next.is_some()
    }

    /// To read on: the server's process behind it has just worked, and answers sooner than one that slept.
    pub(crate) fn executor(&mut self) -> &mut PgListener {
        &mut self.connection
    }
}

/// `None` for what a later version may send and this one does not know.
fn understood(payload: &str) -> Option<Heard> {
    let (kind, id) = payload.split_once(' ')?;
    match kind {
        "environment" => Some(Heard::Environment(id.parse().ok()?)),
        "catalog" => Some(Heard::Catalog(id.parse().ok()?)),
        "fleet" => Some(Heard::Fleet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_a_kind_and_an_id() {
        let id = EnvironmentId::random();
        assert_eq!(understood(&format!("environment {id}")), Some(Heard::Environment(id)));
        assert_eq!(understood(&format!("catalog {id}")), Some(Heard::Catalog(CatalogId(id.0))));
        for strange in ["", "environment", "environment 17", &format!("weather {id}")] {
            assert_eq!(understood(strange), None);
        }
    }
}
