//! The environments as a reflector reads them: those of the shards that are held, and what is told of their changes.

use crate::{
    Database, Error, LeaseKeeper,
    records::record_read,
    watch::{Heard, Listener},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use model::{EnvironmentId, EnvironmentRecord};
use runtime::{Fetched, Notification, Source};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{oneshot, watch as channel},
    time::timeout,
};

type Told = Notification<EnvironmentId, EnvironmentRecord>;

/// Which records a [`RecordSource`] gives.
#[derive(Clone, Debug)]
enum Shards {
    /// Those of every shard: for readers without leases.
    All,
    /// Those whose lease is held, as it changes.
    Owned(channel::Receiver<Arc<[u16]>>),
}

/// Which records a source gives.
#[derive(Clone, Debug)]
pub struct Records(Shards);

impl Records {
    /// Of every shard: for readers that do not write.
    pub fn all() -> Self {
        Self(Shards::All)
    }

    /// Of the shards that this keeper holds.
    pub fn owned_by(keeper: &LeaseKeeper) -> Self {
        Self(Shards::Owned(keeper.watch()))
    }
}

/// The environments as a reflector reads them.
#[derive(Clone, Debug)]
pub struct RecordSource {
    database: Database,
    shards: Shards,
}

impl RecordSource {
    /// These records of this database.
    pub fn new(database: Database, records: Records) -> Self {
        Self {
            database,
            shards: records.0,
        }
    }

    fn shards(&self) -> Vec<u16> {
        match &self.shards {
            Shards::All => (0..model::ids::SHARDS).collect(),
            Shards::Owned(owned) => owned.borrow().to_vec(),
        }
    }

    /// Listens, and tells of which shards everything is heard from here on.
    async fn connect(&self, told: oneshot::Sender<channel::Receiver<Arc<[u16]>>>) -> Result<Listener, Error> {
        let listener = Listener::connect(self.database.clone()).await?;
        if let Shards::Owned(owned) = &self.shards {
            let mut owned = owned.clone();
            owned.mark_unchanged();
            // Whoever waits for this may have given up waiting.
            let _ = told.send(owned);
        }
        Ok(listener)
    }

    /// The next change of a record that is given. One that comes alone is read at once, over the connection that told of it; of
    /// many at a time, only the keys are told.
    async fn told(&self, listener: &mut Listener) -> Result<Told, Error> {
        loop {
            match listener.heard().await? {
                Heard::Environment(id) if self.gives(id) => {
                    if listener.hears_more() {
                        return Ok(Notification::Changed(id));
                    }
                    return Ok(Notification::Read(id, record_read(listener.executor(), id).await?));
                }
                Heard::Environment(_) | Heard::Catalog(_) | Heard::Fleet | Heard::Listening => {}
            }
        }
    }

    fn gives(&self, id: EnvironmentId) -> bool {
        match &self.shards {
            Shards::All => true,
            Shards::Owned(owned) => owned.borrow().binary_search(&id.shard()).is_ok(),
        }
    }
}

impl Source for RecordSource {
    type Key = EnvironmentId;
    type Value = EnvironmentRecord;
    type Error = Error;

    const NAME: &'static str = "environments";

    fn list(&self) -> impl Stream<Item = Result<(EnvironmentId, EnvironmentRecord), Error>> + Send {
        self.database
            .record_list(&self.shards())
            .map_ok(|record| (record.id(), record))
    }

    /// A key of a shard that is not given is not there.
    async fn fetch(&self, keys: Vec<EnvironmentId>) -> Result<Fetched<EnvironmentId, EnvironmentRecord>, Error> {
        let given: Vec<EnvironmentId> = keys.into_iter().filter(|id| self.gives(*id)).collect();
        self.database.record_fetch(&given).await
    }

    /// Asks for a full read also when the shards change.
    fn listen(&self) -> impl Stream<Item = Result<Told, Error>> + Send {
        let (told, listening) = oneshot::channel();
        let changed = match &self.shards {
            Shards::All => stream::pending().boxed(),
            Shards::Owned(owned) => relist_on_change(owned.clone(), listening).boxed(),
        };
        let heard = stream::once(self.connect(told))
            .map_ok(|listener| {
                let told = stream::try_unfold(listener, async |mut listener| {
                    Ok(Some((self.told(&mut listener).await?, listener)))
                });
                stream::once(async { Ok(Notification::Relist) }).chain(told)
            })
            .try_flatten();
        stream::select(heard, changed)
    }
}

/// How long changes of the shards are kept back until notifications are heard, which asks for a full read anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// `Relist` for each change from the moment that notifications are heard; never ends, so that the other stream's end is what
/// counts. At a start shards and notifications come at about the same time, and one full read does for both.
fn relist_on_change(
    owned: channel::Receiver<Arc<[u16]>>,
    listening: oneshot::Receiver<channel::Receiver<Arc<[u16]>>>,
) -> impl Stream<Item = Result<Told, Error>> + Send {
    let first = async move {
        match timeout(PATIENCE, listening).await {
            Ok(Ok(owned)) => owned,
            Ok(Err(_)) | Err(_) => owned,
        }
    };
    stream::once(first).flat_map(|owned| {
        stream::unfold(owned, async |mut owned| {
            if owned.changed().await.is_err() {
                return std::future::pending().await;
            }
            Some((Ok(Notification::Relist), owned))
        })
    })
}
