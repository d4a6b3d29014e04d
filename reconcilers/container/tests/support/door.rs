//! A door to the engine that can be shut: a socket of our own that leads to the engine's.

use std::path::PathBuf;
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

pub(crate) struct Door {
    engine: PathBuf,
    folder: tempfile::TempDir,
    open: JoinSet<()>,
}

impl Door {
    /// Leads to the engine at `host`, which has to be a Unix socket.
    pub(crate) fn open(host: &str) -> Self {
        let engine = host.strip_prefix("unix://").unwrap().into();
        let folder = tempfile::tempdir().unwrap();
        let mut door = Self {
            engine,
            folder,
            open: JoinSet::new(),
        };
        door.listen();
        door
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Ends every connection, and answers no more.
    pub(crate) async fn close(mut self) -> Self {
        self.open.shutdown().await;
        std::fs::remove_file(self.socket()).unwrap();
        self
    }

    pub(crate) fn reopen(mut self) -> Self {
        self.listen();
        self
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    fn listen(&mut self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let engine = self.engine.clone();
        self.open.spawn(async move {
            // Dropped with this task, and so are all connections.
            let mut connections = JoinSet::new();
            while let Ok((mut inside, _)) = listener.accept().await {
                let engine = engine.clone();
                connections.spawn(async move {
                    let mut outside = UnixStream::connect(engine).await.unwrap();
                    let _ = copy_bidirectional(&mut inside, &mut outside).await;
                });
            }
        });
    }
}
