//! The tools' public ports: TLS and a token outside, plain HTTP to the container's loopback port inside.
//!
//! Owns: which ports are open, who may call, and what is passed on. Must not: probe or start anything; an endpoint is there because
//! its container is ready. Promises: bodies stream both ways as they come; the caller's token never reaches a tool; a tool that
//! moved to another loopback port keeps its public one.

mod forward;

use crate::{credentials::Current, listener};
use container_reconciler::Endpoints;
use forward::Forward;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// How often a port that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The proxy of all tools.
pub(crate) struct Proxy {
    listen: IpAddr,
    credentials: Current,
    client: forward::Client,
    open: HashMap<u16, OpenPort>,
    served: watch::Sender<Arc<Endpoints>>,
    serving: JoinSet<u16>,
    shutdown: CancellationToken,
}

/// A port that is served.
struct OpenPort {
    target: watch::Sender<SocketAddr>,
    /// Closes the port; calls that are under way have a grace.
    close: CancellationToken,
}

impl Proxy {
    /// Nothing is open yet.
    pub(crate) fn new(listen: IpAddr, credentials: Current, shutdown: CancellationToken) -> Self {
        Self {
            listen,
            credentials,
            client: forward::client(),
            open: HashMap::new(),
            served: watch::Sender::default(),
            serving: JoinSet::new(),
            shutdown,
        }
    }

    /// The endpoints whose ports are open and lead to their containers.
    pub(crate) fn served(&self) -> watch::Receiver<Arc<Endpoints>> {
        self.served.subscribe()
    }

    /// Follows the endpoints until shutdown.
    pub(crate) async fn run(mut self, mut endpoints: watch::Receiver<Arc<Endpoints>>) {
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = endpoints.borrow_and_update().clone();
            let complete = self.converge(&wanted).await;
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                changed = endpoints.changed() => if changed.is_err() { break },
                Some(_) = self.serving.join_next() => {}
                _ = retry.tick(), if !complete => {}
            }
        }
        for open in self.open.values() {
            open.close.cancel();
        }
        while self.serving.join_next().await.is_some() {}
    }

    /// Closes what is not wanted, then redirects and opens. Says whether all could be opened.
    async fn converge(&mut self, wanted: &Endpoints) -> bool {
        // 1. Close first: another instance may get the port.
        let ports: HashMap<u16, SocketAddr> = wanted.values().map(|endpoint| (endpoint.port, endpoint.address)).collect();
        for (port, open) in self.open.extract_if(|port, _| !ports.contains_key(port)) {
            open.close.cancel();
            tracing::info!(port, "a tool's port is closed");
        }
        // 2. Redirect or open.
        let mut complete = true;
        for (port, address) in ports {
            if let Some(open) = self.open.get(&port) {
                open.target
                    .send_if_modified(|target| std::mem::replace(target, address) != address);
            } else {
                complete &= self.open(port, address).await;
            }
        }
        let mut served = wanted.clone();
        served.retain(|_, endpoint| self.open.contains_key(&endpoint.port));
        self.served.send_if_modified(|before| {
            let changed = **before != served;
            *before = Arc::new(served);
            changed
        });
        complete
    }

    async fn open(&mut self, port: u16, address: SocketAddr) -> bool {
        let listener = match TcpListener::bind((self.listen, port)).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(port, %error, "a tool's port could not be opened");
                return false;
            }
        };
        let close = self.shutdown.child_token();
        let (target, targets) = watch::channel(address);
        let service = Forward::new(self.client.clone(), targets, self.credentials.clone());
        let serving = listener::serve(listener, self.credentials.clone(), service, close.clone());
        self.serving.spawn(async move {
            serving.await;
            port
        });
        self.open.insert(port, OpenPort { target, close });
        tracing::info!(port, %address, "a tool's port is open");
        true
    }
}
