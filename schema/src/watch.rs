//! Notifications of the channel `toolplane` as a stream. Triggers send them, `<kind> <uuid>`, when a change commits.
//!
//! A lost connection ends the stream with an error, never silently: what was sent in between is gone, and whoever listens has to
//! read everything again.

use crate::{Database, Error};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use model::{CatalogId, EnvironmentId};
use sqlx::postgres::PgListener;

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
    stream::once(connected(database.clone()))
        .map_ok(|listener| {
            let heard = stream::try_unfold(listener, async |mut listener| {
                loop {
                    let Some(notification) = listener.try_recv().await? else {
                        return Err(Error::ListenLost);
                    };
                    if let Some(heard) = understood(notification.payload()) {
                        return Ok(Some((heard, listener)));
                    }
                }
            });
            stream::once(async { Ok(Heard::Listening) }).chain(heard)
        })
        .try_flatten()
}

async fn connected(database: Database) -> Result<PgListener, Error> {
    let mut listener = PgListener::connect_with(&database.pool).await?;
    // A reconnection would hide that notifications were lost.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
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
