//! The reconciler in its loop, over a real Postgres and the DigitalOcean simulator. The agent's part is played by the test, by
//! the same calls that the agents' endpoints make.

#![expect(clippy::unwrap_used, reason = "a story that breaks off has failed")]

use digitalocean::{Budget, BudgetConfig, Client, DropletAction, DropletCreate, DropletStatus, ImageRef};
use environment_reconciler::{Config, EnvironmentReconciler, OrphanReconciler, Orphans, Policy};
use fleet::{Firewalls, Fleet, Limits, Looks, Sweeps};
use jiff::{SignedDuration, Timestamp};
use model::{
    AgentReport, DropletVitals, Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase, EnvironmentRecord,
    EnvironmentSpec, InstallationId, UserId, record::Subject,
};
use runtime::{Controller, Reflector, ReflectorConfig, reflector};
use schema::{ConnectOptions, Database, LeaseConfig, LeaseKeeper, RecordSource, Records, Role};
use simulator::{Fault, FaultRule, Handle, Simulator};
use std::{num::NonZeroU32, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Only bounds a hang.
const PATIENCE: Duration = Duration::from_mins(1);

struct Story {
    users: Database,
    simulator: Handle,
    replica: CancellationToken,
    project: Option<String>,
    url: String,
    boot: Uuid,
    sequence: i64,
    _state: tempfile::TempDir,
}

impl Story {
    async fn begin() -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let url = cluster::testing::database(async |url: String| {
            let database = Database::connect(&ConnectOptions::new(url.into(), None)).await.unwrap();
            database.migrate().await.unwrap();
            database.close().await;
            Ok::<_, cluster::Error>(())
        })
        .await
        .unwrap();
        let state = tempfile::tempdir().unwrap();
        let simulator = Simulator::start(simulator::Config::new("token".into(), state.path()))
            .await
            .unwrap();
        simulator.configure(|settings| {
            settings.boot_ms = 100;
            settings.delete_ms = 100;
            // The test looks often.
            settings.requests_per_minute = 1_000_000;
            settings.requests_per_hour = 1_000_000;
        });
        let users = Database::connect(&ConnectOptions::new(url.clone().into(), None))
            .await
            .unwrap();
        let mut story = Self {
            users,
            simulator,
            replica: CancellationToken::new(),
            project: None,
            url,
            boot: Uuid::new_v4(),
            sequence: 0,
            _state: state,
        };
        story.serve().await;
        story
    }

    /// Starts a replica; the one before, if any, is gone without a word.
    async fn serve(&mut self) {
        self.replica.cancel();
        self.replica = CancellationToken::new();
        let shutdown = self.replica.clone();
        let database = Database::connect(&ConnectOptions::new(self.url.clone().into(), Some(Role::Controller)))
            .await
            .unwrap();
        let lease = LeaseConfig {
            ttl: Duration::from_secs(3),
            name: "test".to_owned(),
        };
        let leases = LeaseKeeper::new(database.clone(), lease);
        tokio::spawn(leases.clone().run(shutdown.clone()));
        let source = RecordSource::new(database.clone(), Records::owned_by(&leases));
        let (records, mut reflector): (_, Reflector<RecordSource>) = reflector(source, ReflectorConfig::default());
        let changed = reflector.subscribe();
        tokio::spawn(reflector.run(shutdown.clone()));
        let client = Client::new(digitalocean::Config::new(self.simulator.base_url().clone(), "token".into())).unwrap();
        let (fleet, config) = (Fleet::new(), config(self.project.clone()));
        let installation = config.installation.clone();
        let sweeps = Sweeps {
            database: database.clone(),
            leases: leases.clone(),
            client: client.clone(),
            fleet: fleet.clone(),
            firewalls: Firewalls::new(installation.clone()),
            config: fleet::Config {
                installation: installation.clone(),
                every: Duration::from_secs(1),
                limits: Limits::default(),
            },
        };
        tokio::spawn(sweeps.run(shutdown.clone()));
        let orphans = OrphanReconciler::new(Orphans {
            database: database.clone(),
            leases: leases.clone(),
            client: client.clone(),
            fleet: fleet.clone(),
            records: records.clone(),
            installation: installation.clone(),
            policy: config.policy.clone(),
            limits: Limits::default(),
        });
        let found = orphans.wakes(Duration::from_secs(1));
        let orphans = Controller::new(Arc::new(orphans), runtime::Config::default()).wakes(found);
        tokio::spawn(orphans.run(shutdown.clone()));
        let looks = Looks::new(client.clone(), installation, fleet.clone(), Limits::default());
        let key = "07".repeat(32).parse().unwrap();
        let reconciler = EnvironmentReconciler::new(database, leases, client, fleet, looks, key, config, records);
        tokio::spawn(reconciler.background(shutdown.clone()));
        let wakes = reconciler.wakes();
        let controller = Controller::new(Arc::new(reconciler), runtime::Config::default())
            .wakes(changed)
            .wakes(wakes);
        tokio::spawn(controller.run(shutdown));
    }

    async fn insert(&self, region: &str) -> EnvironmentId {
        let user_id = UserId::random();
        let _ = self.users.user_ensure(user_id).await.unwrap();
        let spec = EnvironmentSpec {
            user_id,
            region: region.into(),
            size: "s-1vcpu-1gb".into(),
            image: "ubuntu-22-04-x64".into(),
            desired_state: EnvironmentDesiredState::Active,
            paused: false,
        };
        self.users.apply_environment(&spec).await.unwrap().0
    }

    async fn want(&self, id: EnvironmentId, edit: impl FnOnce(&mut EnvironmentSpec)) {
        let mut spec = self.row(id).await.spec;
        edit(&mut spec);
        let _ = self.users.apply_environment(&spec).await.unwrap();
    }

    async fn sql(&self, script: &str) {
        let mut psql = tokio::process::Command::new("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", script, &self.url]);
        assert!(psql.status().await.unwrap().success(), "{script}");
    }

    async fn record(&self, id: EnvironmentId) -> Option<EnvironmentRecord> {
        self.users.record_get(id).await.unwrap()
    }

    async fn row(&self, id: EnvironmentId) -> Environment {
        match self.record(id).await.unwrap().subject {
            Subject::Row(row) => row,
            Subject::Tombstone(tombstone) => panic!("{tombstone:?}"),
        }
    }

    async fn until(&self, id: EnvironmentId, what: &str, holds: impl Fn(&Environment) -> bool) -> Environment {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let row = self.row(id).await;
            if holds(&row) {
                return row;
            }
            if tokio::time::Instant::now() > end {
                let events = self.users.event_list(Some(id), 50).await.unwrap();
                panic!("never {what}: {row:#?} {events:#?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The agent of the environment's droplet enrols and reports.
    async fn agent(&mut self, id: EnvironmentId) {
        let intent = self.record(id).await.unwrap().intent.unwrap();
        let _ = self.users.intent_enrol(intent.id, &"ab".repeat(32)).await.unwrap();
        self.sequence += 1;
        let report = AgentReport {
            boot_id: self.boot,
            sequence: self.sequence,
            applied: None,
            agent_version: "0.1.0".into(),
            vitals: DropletVitals::default(),
            instances: Vec::new(),
            received_at: Timestamp::now(),
        };
        let _ = self.users.heartbeat_record(id, intent.epoch, &report).await.unwrap();
    }

    async fn launch(&mut self, id: EnvironmentId) -> Environment {
        self.until(id, "reachable", |row| row.status.ip_address.is_some()).await;
        self.agent(id).await;
        self.until(id, "active", |row| row.status.phase == EnvironmentPhase::Active)
            .await
    }

    fn live(&self) -> Vec<u64> {
        self.simulator.droplets().iter().map(|droplet| droplet.id).collect()
    }

    async fn until_droplet<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !holds().await {
            assert!(
                tokio::time::Instant::now() < end,
                "never: {what}: {:?}",
                self.simulator.droplets()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_none_is_live(&self) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !self.live().is_empty() {
            assert!(tokio::time::Instant::now() < end, "never gone: {:?}", self.live());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn end(self) {
        self.replica.cancel();
        self.simulator.shutdown().await;
    }
}

fn config(project: Option<String>) -> Config {
    let installation: InstallationId = "test".parse().unwrap();
    Config {
        installation,
        policy: Policy {
            lag_window: SignedDuration::from_secs(4),
            ..Policy::default()
        },
        backend_url: "https://127.0.0.1:1".parse().unwrap(),
        backend_ca_pem: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        agent_url: "https://127.0.0.1:1/api/v1/agent/binary".parse().unwrap(),
        agent_sha256: "00".repeat(32),
        enrolment_ttl: Duration::from_hours(1),
        ssh_keys: Vec::new(),
        project,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_droplet_comes_is_lost_comes_again_goes_and_stays_gone() {
    let mut story = Story::begin().await;
    let id = story.insert("nyc3").await;
    let row = story.launch(id).await;
    let first = story.live();
    assert_eq!(first, [row.status.droplet_id.unwrap().0]);
    assert_eq!(row.status.agent_epoch, 1);

    // Destroyed behind our back: one new droplet, and the old agent's epoch is over.
    story.simulator.destroy(first[0]).await;
    story.until(id, "replaced", |row| row.status.agent_epoch == 2).await;
    let row = story.launch(id).await;
    assert_eq!(story.live(), [row.status.droplet_id.unwrap().0]);
    assert_ne!(story.live(), first);

    // Disabled, and enabled again.
    story
        .want(id, |spec| spec.desired_state = EnvironmentDesiredState::Deleted)
        .await;
    let row = story
        .until(id, "deleted", |row| row.status.phase == EnvironmentPhase::Deleted)
        .await;
    assert_eq!((row.status.droplet_id, row.status.ip_address), (None, None));
    assert_eq!(story.live(), Vec::<u64>::new());
    story
        .want(id, |spec| spec.desired_state = EnvironmentDesiredState::Active)
        .await;
    story.launch(id).await;
    assert_eq!(story.live().len(), 1);

    let reasons: Vec<String> = story
        .users
        .event_list(Some(id), 100)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.event.reason)
        .collect();
    for reason in [
        "CreateAnnounced",
        "DropletCreated",
        "CreateSeen",
        "DropletAdopted",
        "DropletGone",
        "DropletDeleted",
    ] {
        assert!(reasons.iter().any(|seen| seen == reason), "{reason} is not among {reasons:?}");
    }
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_makes_no_second_droplet_and_a_lost_request_is_made_good() {
    let mut story = Story::begin().await;
    story
        .simulator
        .fault(FaultRule::next("POST", "/v2/droplets", Fault::DropAfter));
    let id = story.insert("nyc3").await;
    story.launch(id).await;
    assert_eq!(story.live().len(), 1);

    story
        .simulator
        .fault(FaultRule::next("POST", "/v2/droplets", Fault::DropBefore));
    let other = story.insert("nyc3").await;
    let row = story.launch(other).await;
    assert_eq!(row.status.agent_epoch, 2, "announced again, once the window had passed");
    assert_eq!(story.live().len(), 2);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_create_names_the_column_and_heals_with_it() {
    let mut story = Story::begin().await;
    let id = story.insert("nowhere").await;
    let row = story
        .until(id, "refused", |row| row.status.phase == EnvironmentPhase::ErrorCreation)
        .await;
    let message = row.status.error_message.unwrap();
    assert!(message.starts_with("region_slug:"), "{message}");
    let announced = row.status.agent_epoch;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        story.row(id).await.status.agent_epoch,
        announced,
        "tried again without a reason"
    );
    story.want(id, |spec| spec.region = "nyc3".into()).await;
    let row = story.launch(id).await;
    assert_eq!(row.status.error_message, None);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_row_and_a_replica_that_dies_leave_nothing() {
    let mut story = Story::begin().await;
    let id = story.insert("nyc3").await;
    story.launch(id).await;
    // Another replica takes over once the lease of the one before is over.
    story.serve().await;
    story
        .sql(&format!("delete from account_tool_environments where id = '{id}'"))
        .await;
    story.until_none_is_live().await;
    let end = tokio::time::Instant::now() + PATIENCE;
    while story.record(id).await.is_some() {
        assert!(tokio::time::Instant::now() < end, "the tombstone stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    story.end().await;
}

/// The test's own hands on the cloud, with a budget of their own that is never short.
fn hands(story: &Story) -> Client {
    let plenty = NonZeroU32::new(1_000_000).unwrap();
    let budget = Budget::new(BudgetConfig {
        per_minute: plenty,
        per_hour: plenty,
        ..BudgetConfig::default()
    });
    let config = digitalocean::Config::new(story.simulator.base_url().clone(), "token".into());
    Client::new(digitalocean::Config { budget, ..config }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_does_to_a_droplet_is_undone() {
    let mut story = Story::begin().await;
    let hands = hands(&story);
    story.project = Some(project(&story).await);
    story.serve().await;
    let id = story.insert("nyc3").await;
    let row = story.launch(id).await;
    let droplet = row.status.droplet_id.unwrap().0;
    story
        .until_droplet("in the project", || async {
            members(&hands, story.project.as_deref().unwrap()).await == [droplet]
        })
        .await;

    // Another name, no tags, no power: one after the other, and each is corrected.
    let rename = DropletAction::Rename { name: "mine".to_owned() };
    hands.droplet_action(droplet, &rename).await.unwrap();
    let name = format!("toolplane-{id}");
    story
        .until_droplet("renamed", || async {
            let seen = hands.droplet_get(droplet).await.unwrap();
            seen.name == name && !seen.locked
        })
        .await;
    for tag in [
        "toolplane:installation:test".to_owned(),
        format!("toolplane:environment:{id}"),
    ] {
        hands.tag_delete(&tag).await.unwrap();
    }
    story
        .until_droplet("tagged", || async {
            hands.droplet_get(droplet).await.unwrap().tags.len() == 4
        })
        .await;
    hands.droplet_action(droplet, &DropletAction::PowerOff).await.unwrap();
    story
        .until_droplet("off", || async {
            hands.droplet_get(droplet).await.unwrap().status == DropletStatus::Off
        })
        .await;
    story
        .until_droplet("on", || async {
            hands.droplet_get(droplet).await.unwrap().status == DropletStatus::Active
        })
        .await;
    assert_eq!(story.live(), [droplet], "all of it is the same droplet");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_is_reached_in_place_or_named_as_unreachable() {
    let mut story = Story::begin().await;
    let hands = hands(&story);
    let id = story.insert("nyc3").await;
    let row = story.launch(id).await;
    let droplet = row.status.droplet_id.unwrap().0;
    story.want(id, |spec| spec.size = "s-2vcpu-4gb".into()).await;
    story
        .until_droplet("resized", || async {
            let seen = hands.droplet_get(droplet).await.unwrap();
            seen.size_slug == "s-2vcpu-4gb" && seen.disk == 25 && seen.status == DropletStatus::Active
        })
        .await;
    story.agent(id).await;
    let row = story
        .until(id, "settled", |row| row.status.conditions.holds("Reconciled"))
        .await;
    assert_eq!(row.status.conditions.get("ToolsStopped"), None);

    story.want(id, |spec| spec.size = "s-1vcpu-512mb-10gb".into()).await;
    let row = story.until(id, "refused", |row| row.status.error_message.is_some()).await;
    let message = row.status.error_message.unwrap();
    assert!(
        message.starts_with("size_slug: ") && message.contains("cannot shrink"),
        "{message}"
    );
    assert_eq!(row.status.phase, EnvironmentPhase::Active);
    assert_eq!(story.live(), [droplet]);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_goes_and_what_others_tagged_stays() {
    let mut story = Story::begin().await;
    let (hands, nobody) = (hands(&story), EnvironmentId::random());
    let id = story.insert("nyc3").await;
    let row = story.launch(id).await;
    let own = row.status.droplet_id.unwrap().0;
    let foreign = tagged(
        &hands,
        &[
            "toolplane".to_owned(),
            "toolplane:installation:other".to_owned(),
            format!("toolplane:environment:{nobody}"),
        ],
    )
    .await;
    let orphan = tagged(
        &hands,
        &[
            "toolplane".to_owned(),
            "toolplane:installation:test".to_owned(),
            format!("toolplane:environment:{nobody}"),
        ],
    )
    .await;
    story
        .until_droplet("the orphan is gone", || async { !story.live().contains(&orphan) })
        .await;
    let mut live = story.live();
    live.sort_unstable();
    assert_eq!(live, [own, foreign]);
    let events = story.users.event_list(Some(nobody), 10).await.unwrap();
    assert!(events.iter().any(|seen| seen.event.reason == "OrphanDeleted"), "{events:?}");
    story.end().await;
}

async fn tagged(hands: &Client, tags: &[String]) -> u64 {
    let create = DropletCreate {
        name: "made-by-hand".to_owned(),
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-22-04-x64".to_owned()),
        tags: tags.to_vec(),
        user_data: None,
        vpc_uuid: None,
        ssh_keys: Vec::new(),
        monitoring: false,
        ipv6: false,
    };
    hands.droplet_create(&create).await.unwrap().droplet.id
}

/// A project beside the default one; the client makes none.
async fn project(story: &Story) -> String {
    let url = story.simulator.base_url().join("v2/projects").unwrap();
    let body = serde_json::json!({"name": "tools", "purpose": "tools"});
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(url)
        .bearer_auth("token")
        .json(&body);
    let answer: serde_json::Value = request
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap();
    answer["project"]["id"].as_str().unwrap().to_owned()
}

async fn members(hands: &Client, project: &str) -> Vec<u64> {
    let listed = hands.project_resource_list(project).await.unwrap();
    listed
        .iter()
        .filter_map(|member| member.urn.strip_prefix("do:droplet:")?.parse().ok())
        .collect()
}
