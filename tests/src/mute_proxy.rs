//! A proxy in front of Postgres that can swallow notifications, as some connection poolers do.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// `NotificationResponse` in the PostgreSQL frontend/backend protocol 3.0.
const NOTIFICATION_RESPONSE: u8 = b'A';

/// Forwards every message both ways, but notifications only while it is not muted.
pub struct MuteProxy {
    /// Where clients connect.
    pub address: SocketAddr,
    muted: Arc<AtomicBool>,
    swallowed: Arc<AtomicU64>,
}

impl MuteProxy {
    /// Listens on a free loopback port until the runtime ends.
    pub async fn start(database: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let proxy = Self {
            address: listener.local_addr()?,
            muted: Arc::default(),
            swallowed: Arc::default(),
        };
        let (muted, swallowed) = (proxy.muted.clone(), proxy.swallowed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, database, muted.clone(), swallowed.clone()));
            }
        });
        Ok(proxy)
    }

    /// From now on no notification gets through.
    pub fn mute(&self) {
        self.muted.store(true, Ordering::SeqCst);
    }

    /// How many notifications were swallowed.
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::SeqCst)
    }
}

async fn forward(client: TcpStream, database: SocketAddr, muted: Arc<AtomicBool>, swallowed: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(database).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let down = async {
        // An answer to an SSL request is a single byte without a length. It only ever comes first.
        let mut kind = [0; 1];
        let mut first = true;
        loop {
            from_server.read_exact(&mut kind).await?;
            if std::mem::take(&mut first) && kind[0] == b'N' {
                to_client.write_all(&kind).await?;
                continue;
            }
            let length = from_server.read_u32().await?;
            let mut body = vec![0; usize::try_from(length).unwrap_or_default().saturating_sub(4)];
            from_server.read_exact(&mut body).await?;
            if kind[0] == NOTIFICATION_RESPONSE && muted.load(Ordering::SeqCst) {
                swallowed.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            to_client.write_all(&kind).await?;
            to_client.write_u32(length).await?;
            to_client.write_all(&body).await?;
        }
    };
    let _ended: std::io::Result<()> = tokio::select! { end = up => end, end = down => end };
}
