//! The agents' endpoints over real HTTP and a real database.

use agent_api::{AgentKey, EnrolRequest, EnrolResponse, HeartbeatAnswer, HeartbeatReport, HeartbeatRequest, MasterKey, Token};
use api::{AgentBinary, Backend};
use model::{
    DropletId, DropletVitals, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase, EnvironmentSpec, EnvironmentStatus,
    InstanceId, InstanceReport, InstanceState, Intent, IntentId, IntentKind, UserId, record::Subject,
};
use reqwest::{Client, Response, StatusCode};
use schema::{ConnectOptions, Database, Fence, LeaseConfig, LeaseKeeper, Role, Written};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A control plane with one environment whose droplet was announced.
struct Fixture {
    url: String,
    client: Client,
    database: Database,
    master_key: Arc<MasterKey>,
    environment: EnvironmentId,
    intent: Intent,
    fence: Fence,
    end: CancellationToken,
    _binary: tempfile::NamedTempFile,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Fixture {
    async fn new() -> Result<Self, Failure> {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let url = cluster::testing::database::<Failure, _>(async |url| {
            let database = Database::connect(&ConnectOptions::new(url.into(), None)).await?;
            database.migrate().await?;
            database.close().await;
            Ok(())
        })
        .await?;
        let owner = Database::connect(&ConnectOptions::new(url.clone().into(), None)).await?;
        let environment = insert_environment(&owner).await?;
        let database = Database::connect(&ConnectOptions::new(url.into(), Some(Role::Controller))).await?;
        let end = CancellationToken::new();
        let (intent, fence) = announce(&database, environment, &end).await?;
        let binary = tempfile::NamedTempFile::new()?;
        std::fs::write(binary.path(), b"an agent")?;
        let master_key = Arc::new(MasterKey::generate()?);
        let backend = Backend {
            database: database.clone(),
            authority: Arc::new(master_key.certificate_authority()?),
            master_key: master_key.clone(),
            agent_binary: AgentBinary::open(binary.path().to_owned()).await?,
            heartbeat_interval: Duration::from_secs(10),
        };
        let listener = api::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(api::serve(listener, None, api::router(backend), end.clone()));
        let client = Client::builder().no_proxy().build()?;
        Ok(Self {
            url,
            client,
            database,
            master_key,
            environment,
            intent,
            fence,
            end,
            _binary: binary,
        })
    }

    /// Records the droplet's address, as the environment reconciler does when DigitalOcean tells it.
    async fn record_address(&self) -> Result<(), Failure> {
        let droplet = DropletId(17);
        self.database.intent_droplet(&self.fence, self.intent.id, droplet).await?;
        let status = EnvironmentStatus {
            phase: EnvironmentPhase::Creating,
            droplet_id: Some(droplet),
            ip_address: Some([127, 1, 2, 3].into()),
            ..EnvironmentStatus::default()
        };
        let written = self
            .database
            .environment_status_write(&self.fence, self.environment, 1, &status)
            .await?;
        assert_eq!(written, Written::Done);
        Ok(())
    }

    fn request(&self, key: &AgentKey) -> Result<EnrolRequest, Failure> {
        let (environment_id, intent_id) = (self.environment, self.intent.id);
        Ok(EnrolRequest {
            environment_id,
            intent_id,
            token: self.master_key.enrolment_token(environment_id, intent_id),
            csr_pem: key.csr_pem()?,
            proof: key.proof(environment_id, intent_id)?,
        })
    }

    async fn post(&self, path: &str, token: Option<&Token>, body: &impl serde::Serialize) -> Result<Response, Failure> {
        let request = self.client.post(format!("{}/api/v1/agent/{path}", self.url)).json(body);
        let request = match token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        Ok(request.send().await?)
    }

    fn heartbeat(&self, boot_id: Uuid, sequence: i64, instances: Vec<InstanceReport>) -> HeartbeatRequest {
        HeartbeatRequest {
            environment_id: self.environment,
            epoch: self.intent.epoch,
            report: HeartbeatReport {
                boot_id,
                sequence,
                applied: None,
                agent_version: "0.1.0".to_owned(),
                vitals: DropletVitals::default(),
                instances,
            },
        }
    }
}

async fn insert_environment(database: &Database) -> Result<EnvironmentId, Failure> {
    let user_id = UserId::random();
    database.user_ensure(user_id).await?;
    let spec = EnvironmentSpec {
        user_id,
        region: "nyc3".into(),
        size: "s-1vcpu-1gb".into(),
        image: "ubuntu-22-04-x64".into(),
        desired_state: EnvironmentDesiredState::Active,
        paused: false,
    };
    Ok(database.apply_environment(&spec).await?.0)
}

/// Announces a create, under a lease, as the environment reconciler does.
async fn announce(database: &Database, environment: EnvironmentId, end: &CancellationToken) -> Result<(Intent, Fence), Failure> {
    let keeper = LeaseKeeper::new(
        database.clone(),
        LeaseConfig {
            ttl: Duration::from_secs(15),
            name: "test".to_owned(),
        },
    );
    tokio::spawn(keeper.clone().run(end.clone()));
    let fence: Fence = loop {
        match keeper.fence(environment.shard()) {
            Some(fence) => break fence,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let record = database.record_get(environment).await?.ok_or("no record")?;
    let Subject::Row(row) = record.subject else {
        return Err("no row".into());
    };
    let intent = database
        .intent_announce(&fence, &row, IntentKind::Create, Duration::from_mins(10))
        .await?;
    Ok((intent, fence))
}

/// The status and the body of a refusal, which is always `application/problem+json`.
async fn problem(response: Response) -> Result<(StatusCode, String), Failure> {
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await?;
    assert_eq!(body["status"], status.as_u16());
    Ok((status, body["detail"].as_str().unwrap_or_default().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_enrols_as_often_as_it_asks_and_another_never() -> Result<(), Failure> {
    let fixture = Fixture::new().await?;
    let (first, second) = (AgentKey::generate()?, AgentKey::generate()?);
    fixture.record_address().await?;
    for _ in 0..2 {
        let answer = fixture.post("enroll", None, &fixture.request(&first)?).await?;
        assert_eq!(answer.status(), StatusCode::OK);
        let granted: EnrolResponse = answer.json().await?;
        assert_eq!(granted.epoch, fixture.intent.epoch);
        assert!(
            fixture
                .master_key
                .agent_token(fixture.environment, granted.epoch)
                .verify(granted.agent_token.expose())
        );
    }
    let (status, detail) = problem(fixture.post("enroll", None, &fixture.request(&second)?).await?).await?;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(detail.contains("another key"), "{detail}");
    let events = fixture.database.event_list(Some(fixture.environment), 10).await?;
    assert!(
        events.iter().any(|listed| listed.event.reason == "EnrolmentRefused"),
        "the alarm is raised: {events:?}"
    );
    Ok(())
}

/// Tools are called by the droplet's address: a certificate that lacked it would be good for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_faster_than_the_droplets_address_is_told_to_come_back() -> Result<(), Failure> {
    let fixture = Fixture::new().await?;
    let key = AgentKey::generate()?;
    let (status, detail) = problem(fixture.post("enroll", None, &fixture.request(&key)?).await?).await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(detail.contains("address is not recorded yet"), "{detail}");
    fixture.record_address().await?;
    let answer = fixture.post("enroll", None, &fixture.request(&key)?).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_without_the_droplets_token_is_refused() -> Result<(), Failure> {
    let fixture = Fixture::new().await?;
    let mut request = fixture.request(&AgentKey::generate()?)?;
    request.token = fixture.master_key.enrolment_token(fixture.environment, IntentId::random());
    let (status, detail) = problem(fixture.post("enroll", None, &request).await?).await?;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(detail.starts_with("token:"), "{detail}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_taken_once_and_only_with_the_current_token() -> Result<(), Failure> {
    let fixture = Fixture::new().await?;
    let token = fixture.master_key.agent_token(fixture.environment, fixture.intent.epoch);
    let old = fixture.master_key.agent_token(fixture.environment, fixture.intent.epoch - 1);
    let heartbeat = fixture.heartbeat(Uuid::new_v4(), 1, Vec::new());

    assert_eq!(
        problem(fixture.post("heartbeat", None, &heartbeat).await?).await?.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        problem(fixture.post("heartbeat", Some(&old), &heartbeat).await?).await?.0,
        StatusCode::UNAUTHORIZED
    );

    let mut other_epoch = fixture.heartbeat(Uuid::new_v4(), 1, Vec::new());
    other_epoch.epoch += 1;
    let (status, detail) = problem(fixture.post("heartbeat", Some(&token), &other_epoch).await?).await?;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(detail.contains("epoch"), "{detail}");

    let answer = fixture.post("heartbeat", Some(&token), &heartbeat).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: HeartbeatAnswer = answer.json().await?;
    assert_eq!(
        (answer.next_seconds, answer.epoch, answer.desired),
        (10, fixture.intent.epoch, None)
    );

    let (status, detail) = problem(fixture.post("heartbeat", Some(&token), &heartbeat).await?).await?;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(detail.contains("report.sequence"), "{detail}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_speaks_of_its_own_instances_only() -> Result<(), Failure> {
    let fixture = Fixture::new().await?;
    let token = fixture.master_key.agent_token(fixture.environment, fixture.intent.epoch);
    let foreign = InstanceReport {
        instance_id: InstanceId::random(),
        generation: 1,
        state: InstanceState::Running,
        version: None,
        image_digest: None,
        container_id: None,
        port: None,
        restarts: 0,
        exit_code: None,
        reason: None,
        message: None,
    };
    let heartbeat = fixture.heartbeat(Uuid::new_v4(), 1, vec![foreign]);
    assert_eq!(
        fixture.post("heartbeat", Some(&token), &heartbeat).await?.status(),
        StatusCode::OK
    );
    let record = fixture
        .database
        .record_get(fixture.environment)
        .await?
        .ok_or("the environment is there")?;
    assert_eq!(record.current_report().map(|report| report.instances.len()), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_downloaded_by_its_hash() -> Result<(), Failure> {
    let fixture = Fixture::new().await?;
    let hash = "8f1fd3d3a32b2ee1ea51c6cd6d0c6f6a9bd4a8ac64b3d1f9d4bd6a7a8e8a2a11";
    let (status, detail) = problem(
        fixture
            .client
            .get(format!("{}/api/v1/agent/binary/{hash}", fixture.url))
            .send()
            .await?,
    )
    .await?;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let current = detail.rsplit(' ').next().ok_or("the current hash is named")?.to_owned();
    let answer = fixture
        .client
        .get(format!("{}/api/v1/agent/binary/{current}", fixture.url))
        .send()
        .await?;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.bytes().await?.as_ref(), b"an agent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_field_and_have_one_shape() -> Result<(), Failure> {
    let fixture = Fixture::new().await?;
    let unknown = fixture.client.get(format!("{}/nothing/here", fixture.url)).send().await?;
    assert_eq!(
        problem(unknown).await?,
        (StatusCode::NOT_FOUND, "there is nothing at /nothing/here".to_owned())
    );
    let wrong = fixture
        .post("heartbeat", None, &json!({"environment_id": "not a uuid"}))
        .await?;
    let (status, detail) = problem(wrong).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(detail.contains("environment_id"), "{detail}");
    let other_verb = fixture
        .client
        .get(format!("{}/api/v1/agent/heartbeat", fixture.url))
        .send()
        .await?;
    assert_eq!(problem(other_verb).await?.0, StatusCode::METHOD_NOT_ALLOWED);
    Ok(())
}
