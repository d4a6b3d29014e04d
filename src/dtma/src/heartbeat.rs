//! Heartbeats, and what their answers ask for.
//!
//! Owns: when one is sent, its number, and following an answer: fetch a newer desired set, enrol again. Must not: change anything
//! about containers. Promises: numbers rise by one within a boot; a change on the droplet is told soon; a control plane that is
//! away costs a try an interval and nothing else.

use crate::{
    api::About,
    credentials::{Credentials, interval},
    desired_store::DesiredStore,
    enrolment::Enrolment,
    told::Told,
    vitals::Vitals,
};
use agent_api::{Error, HeartbeatAnswer, HeartbeatReport, HeartbeatRequest};
use rand::Rng;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// After a change, how long to wait for others that belong to it.
const GATHER: Duration = Duration::from_millis(100);

/// What heartbeats tell, and whom.
pub(crate) struct Heart {
    pub(crate) enrolment: Enrolment,
    pub(crate) credentials: watch::Sender<Option<Arc<Credentials>>>,
    pub(crate) desired: DesiredStore,
    pub(crate) told: Told,
    pub(crate) vitals: Vitals,
    pub(crate) about: Arc<About>,
}

/// How a beat ended.
enum Beat {
    /// Answered; the next one is due after this.
    Answered(Duration),
    /// Not answered.
    Missed,
    /// The control plane wants newer credentials.
    Stale,
}

/// Told once when it begins and once when it ends, not with every beat.
#[derive(Default)]
struct Outage {
    missed: u32,
}

impl Heart {
    /// Enrols, beats, and enrols again whenever the control plane asks for it. Never ends.
    pub(crate) async fn run(self) {
        let mut sequence = 0;
        loop {
            let credentials = Arc::new(self.enrolment.complete().await);
            self.credentials.send_replace(Some(credentials.clone()));
            let answered = self.beat_until_stale(&credentials, &mut sequence).await;
            if !answered {
                // Fresh credentials that are refused at once would make this a tight loop.
                sleep(jittered(credentials.heartbeat)).await;
            }
        }
    }

    /// Beats as long as these credentials are good. Says whether they ever were.
    async fn beat_until_stale(&self, credentials: &Credentials, sequence: &mut i64) -> bool {
        let mut told = self.told.clone();
        let mut sets = self.desired.changes();
        let mut pause = credentials.heartbeat;
        let mut answered = false;
        let mut outage = Outage::default();
        loop {
            told.mark_told();
            sets.mark_unchanged();
            *sequence += 1;
            match self.beat(credentials, *sequence, &mut outage).await {
                Beat::Answered(next) => {
                    pause = next;
                    answered = true;
                }
                Beat::Missed => {}
                Beat::Stale => return answered,
            }
            // A missed beat is not hurried by changes: they will be told once there is someone to tell.
            if outage.missed > 0 {
                sleep(jittered(pause)).await;
            } else {
                let changed = async {
                    tokio::select! {
                        () = told.changed() => (),
                        _ = sets.changed() => (),
                    }
                };
                if timeout(jittered(pause), changed).await.is_ok() {
                    sleep(GATHER).await;
                }
            }
        }
    }

    async fn beat(&self, credentials: &Credentials, sequence: i64, outage: &mut Outage) -> Beat {
        let request = HeartbeatRequest {
            environment_id: self.about.environment,
            epoch: credentials.epoch,
            report: HeartbeatReport {
                boot_id: self.about.boot,
                sequence,
                applied: self.desired.stamp(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                vitals: self.vitals.read().await,
                instances: self.told.reports(),
            },
        };
        match self.enrolment.backend.heartbeat(&credentials.agent_token, &request).await {
            Ok(answer) => {
                outage.over();
                self.follow(credentials, answer).await
            }
            Err(error) if error.is_unauthorized() => {
                tracing::info!(epoch = credentials.epoch, "the control plane takes this token no more");
                Beat::Stale
            }
            Err(error) => {
                outage.goes_on(&error);
                Beat::Missed
            }
        }
    }

    async fn follow(&self, credentials: &Credentials, answer: HeartbeatAnswer) -> Beat {
        if answer.epoch > credentials.epoch {
            tracing::info!(
                held = credentials.epoch,
                wanted = answer.epoch,
                "the control plane raised the epoch"
            );
            return Beat::Stale;
        }
        if answer.desired > self.desired.stamp() {
            self.fetch(credentials).await;
        }
        Beat::Answered(interval(answer.next_seconds))
    }

    /// What fails here is tried again with the next beat.
    async fn fetch(&self, credentials: &Credentials) {
        let fetched = self
            .enrolment
            .backend
            .desired_set(&credentials.agent_token, self.about.environment);
        match fetched.await {
            Ok(set) => {
                if let Err(error) = self.desired.accept(set).await {
                    tracing::error!(%error, "fetched a desired set that is not this droplet's");
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a newer desired set could not be fetched"
                );
            }
        }
    }
}

impl Outage {
    fn goes_on(&mut self, error: &Error) {
        self.missed += 1;
        if self.missed == 1 {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "heartbeat missed; tools keep running"
            );
        }
    }

    fn over(&mut self) {
        if self.missed > 0 {
            tracing::info!(missed = self.missed, "heartbeats are answered again");
        }
        self.missed = 0;
    }
}

/// Up to a tenth earlier, so that droplets that were started together do not stay together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.9..=1.0))
}
