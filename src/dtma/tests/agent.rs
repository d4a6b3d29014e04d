//! The agent and its control plane, without any container engine: enrolment, desired sets, heartbeats, restarts, outages.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

mod common;

use agent_api::{AGENT_PORT, AgentKey, LivenessAnswer, PutOutcome, agent_server_name};
use common::{Droplet, NO_ENGINE, PATIENCE};
use model::{DesiredSet, EnvironmentId, InstanceId, Stamp};
use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, time::Duration};

fn set(environment_id: EnvironmentId, generation: i64) -> DesiredSet {
    DesiredSet {
        environment_id,
        stamp: Stamp { epoch: 1, generation },
        instances: Vec::new(),
    }
}

async fn healthy(droplet: &Droplet, epoch: i64) {
    droplet
        .eventually("the agent is healthy", async || droplet.client(epoch).health().await.ok())
        .await;
}

#[tokio::test]
async fn a_new_droplet_enrols_and_takes_a_desired_set() {
    let mut droplet = Droplet::new(NO_ENGINE).await;
    droplet.start_agent();
    healthy(&droplet, 1).await;
    let (environment, client) = (droplet.environment(), droplet.client(1));

    let health = client.health().await.unwrap();
    assert_eq!((health.environment_id, health.droplet_id), (environment, Some(droplet.id)));
    assert_eq!((health.epoch, health.applied, health.engine_version), (1, None, None));
    assert_eq!(client.desired_set().await.unwrap(), None);

    assert_eq!(
        client.put_desired_set(&set(environment, 4)).await.unwrap(),
        PutOutcome::Accepted
    );
    assert_eq!(
        client.put_desired_set(&set(environment, 4)).await.unwrap(),
        PutOutcome::Accepted
    );
    let held = Stamp { epoch: 1, generation: 4 };
    assert_eq!(
        client.put_desired_set(&set(environment, 3)).await.unwrap(),
        PutOutcome::Older { held }
    );
    assert_eq!(client.desired_set().await.unwrap(), Some(set(environment, 4)));
    let foreign = client.put_desired_set(&set(EnvironmentId::random(), 9)).await.unwrap_err();
    assert_eq!(foreign.status(), Some(422));
    assert_eq!(client.tools().await.unwrap().tools, []);
    assert_eq!(client.tool_status(InstanceId::random()).await.unwrap(), None);

    let key = droplet.state("key.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    droplet
        .eventually("a heartbeat tells the stamp", async || {
            let ledger = droplet.backend.ledger();
            ledger
                .heartbeats
                .iter()
                .any(|beat| beat.report.applied == Some(held))
                .then_some(())
        })
        .await;
}

#[tokio::test]
async fn whoever_lacks_the_token_learns_only_that_the_agent_lives() {
    let mut droplet = Droplet::new(NO_ENGINE).await;
    droplet.start_agent();
    healthy(&droplet, 1).await;

    let refused = droplet.client(2).health().await.unwrap_err();
    assert!(refused.is_unauthorized(), "another epoch's token: {refused}");
    let refused = droplet
        .client(2)
        .put_desired_set(&set(droplet.environment(), 1))
        .await
        .unwrap_err();
    assert!(refused.is_unauthorized());

    let name = agent_server_name(droplet.environment());
    let authority = reqwest::Certificate::from_pem(droplet.backend.authority.certificate_pem().as_bytes()).unwrap();
    let anyone = reqwest::Client::builder()
        .tls_certs_only([authority])
        .no_proxy()
        .resolve(&name, SocketAddr::new(droplet.address, AGENT_PORT))
        .build()
        .unwrap();
    let base = format!("https://{name}:{AGENT_PORT}");
    let answer: LivenessAnswer = anyone
        .get(format!("{base}/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer.status, "ok");
    for path in ["/tools", "/v1/desired-set", "/tools/x/status"] {
        let answer = anyone.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    let token = droplet.backend.master.control_token(droplet.environment(), 1);
    let put = anyone.put(format!("{base}/v1/desired-set")).bearer_auth(token.expose());
    let long = put.try_clone().unwrap().body(vec![b' '; 5 << 20]).send().await;
    assert!(long.is_err() || long.is_ok_and(|answer| answer.status() == 413));
    let garbled = put.body("{}").send().await.unwrap();
    assert_eq!(garbled.status(), 422);
}

#[tokio::test]
async fn a_restarted_agent_enrols_with_the_key_on_its_disk_and_keeps_its_set() {
    let mut droplet = Droplet::new(NO_ENGINE).await;
    droplet.start_agent();
    healthy(&droplet, 1).await;
    droplet
        .client(1)
        .put_desired_set(&set(droplet.environment(), 7))
        .await
        .unwrap();
    let before = droplet.client(1).health().await.unwrap();
    let key = droplet.backend.ledger().key.clone().unwrap();

    assert!(droplet.stop_agent().await.success(), "SIGTERM ends it in order");
    droplet.start_agent();
    healthy(&droplet, 1).await;
    let after = droplet.client(1).health().await.unwrap();
    assert_ne!(after.boot_id, before.boot_id);
    assert_eq!(after.applied, Some(Stamp { epoch: 1, generation: 7 }));
    assert_eq!(droplet.backend.ledger().enrolments, 2);
    assert_eq!(droplet.backend.ledger().key.as_ref(), Some(&key));
    let pem = String::from_utf8(fs::read(droplet.state("key.pem")).unwrap()).unwrap();
    assert_eq!(AgentKey::from_pem(&pem.into()).unwrap().sha256(), key);
}

#[tokio::test]
async fn no_token_is_ever_on_the_droplets_disk_or_in_its_log() {
    let mut droplet = Droplet::new(NO_ENGINE).await;
    droplet.start_agent();
    healthy(&droplet, 1).await;
    droplet
        .client(1)
        .put_desired_set(&set(droplet.environment(), 1))
        .await
        .unwrap();
    droplet.stop_agent().await;
    let (master, environment) = (&droplet.backend.master, droplet.environment());
    let secrets = [
        master.agent_token(environment, 1),
        master.control_token(environment, 1),
        master.tool_token(environment, 1),
    ];
    let files = fs::read_dir(droplet.folder.path().join("state")).unwrap();
    let contents = files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .chain([droplet.log()]);
    for content in contents {
        assert!(secrets.iter().all(|secret| !content.contains(secret.expose())), "{content}");
    }
    let token = master.enrolment_token(environment, droplet.intent());
    assert!(!droplet.log().contains(token.expose()));
}

#[tokio::test]
async fn a_control_plane_that_is_away_is_waited_for() {
    let mut droplet = Droplet::new(NO_ENGINE).await;
    droplet.backend.go_away();
    droplet.start_agent();
    droplet
        .eventually("the agent says that it waits", async || {
            droplet.log().contains("not enrolled yet").then_some(())
        })
        .await;
    droplet.backend.come_back().await;
    healthy(&droplet, 1).await;

    droplet.backend.go_away();
    droplet
        .eventually("a heartbeat is missed", async || {
            droplet.log().contains("heartbeat missed").then_some(())
        })
        .await;
    let missed = droplet.log().matches("heartbeat missed").count();
    assert_eq!(droplet.client(1).health().await.unwrap().epoch, 1, "it serves on");
    droplet.backend.ledger().heartbeats.clear();
    droplet.backend.come_back().await;
    droplet
        .eventually("heartbeats go on", async || {
            (droplet.backend.ledger().heartbeats.len() > 1).then_some(())
        })
        .await;
    assert_eq!(missed, 1, "an outage is told once");
    assert_eq!(droplet.backend.ledger().enrolments, 1, "its credentials are still good");
}

#[tokio::test]
async fn heartbeats_count_up_and_a_newer_stamp_in_an_answer_is_fetched() {
    let mut droplet = Droplet::new(NO_ENGINE).await;
    droplet.start_agent();
    healthy(&droplet, 1).await;
    let newer = set(droplet.environment(), 12);
    droplet.backend.ledger().desired = Some(newer.clone());
    droplet
        .eventually("the agent has fetched the set", async || {
            (droplet.client(1).desired_set().await.unwrap() == Some(newer.clone())).then_some(())
        })
        .await;
    droplet
        .eventually("it says so", async || {
            let ledger = droplet.backend.ledger();
            let last = ledger.heartbeats.last()?;
            (last.report.applied == Some(newer.stamp)).then_some(())
        })
        .await;
    let ledger = droplet.backend.ledger();
    let sequences: Vec<i64> = ledger.heartbeats.iter().map(|beat| beat.report.sequence).collect();
    let expected: Vec<i64> = (1..).take(sequences.len()).collect();
    assert_eq!(sequences, expected, "by one, from one on");
    let boots: std::collections::BTreeSet<_> = ledger.heartbeats.iter().map(|beat| beat.report.boot_id).collect();
    assert_eq!(boots.len(), 1);
    let vitals = &ledger.heartbeats[0].report.vitals;
    assert!(
        vitals.memory_total > 0 && vitals.disk_total > 0 && vitals.engine_version.is_none(),
        "{vitals:?}"
    );
}

#[tokio::test]
async fn a_raised_epoch_makes_the_agent_enrol_again() {
    let mut droplet = Droplet::new(NO_ENGINE).await;
    droplet.start_agent();
    healthy(&droplet, 1).await;
    // The old token is refused with 401 from now on.
    droplet.backend.ledger().epoch = 2;
    healthy(&droplet, 2).await;
    assert!(droplet.client(1).health().await.unwrap_err().is_unauthorized());
    assert_eq!(droplet.backend.ledger().enrolments, 2);
    droplet
        .eventually("heartbeats of the new epoch arrive", async || {
            droplet
                .backend
                .ledger()
                .heartbeats
                .iter()
                .any(|beat| beat.epoch == 2)
                .then_some(())
        })
        .await;
}

#[tokio::test]
async fn systemd_is_told_when_the_agent_is_ready_and_when_it_ends() {
    let mut droplet = Droplet::new(NO_ENGINE).await;
    // Readiness is the agent's own: it keeps its tools with the control plane away.
    droplet.backend.go_away();
    let socket = droplet.folder.path().join("notify");
    let systemd = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let mut command = droplet.command(&["run"]);
    command.env("NOTIFY_SOCKET", &socket);
    droplet.start(&command);
    let told = async || {
        let mut message = [0; 100];
        let length = tokio::time::timeout(PATIENCE, systemd.recv(&mut message))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    assert_eq!(told().await, "READY=1");
    assert!(droplet.stop_agent().await.success());
    assert_eq!(told().await, "STOPPING=1");
}

#[tokio::test]
async fn what_is_wrong_on_the_machine_is_told_and_ends_the_agent() {
    let droplet = Droplet::new(NO_ENGINE).await;
    let run = |command: std::process::Command| {
        let mut command = tokio::process::Command::from(command);
        async move {
            let output = tokio::time::timeout(Duration::from_mins(1), command.kill_on_drop(true).output());
            let output = output.await.expect("it ends by itself").unwrap();
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stderr).unwrap()
        }
    };

    let _taken = std::net::TcpListener::bind((droplet.address, AGENT_PORT)).unwrap();
    let said = run(droplet.command(&["run"])).await;
    assert!(
        said.contains(&format!("cannot listen on {}:30000", droplet.address)),
        "{said}"
    );

    fs::write(droplet.state("key.pem"), "torn").unwrap();
    let said = run(droplet.command(&["run"])).await;
    assert!(said.contains("key.pem is no key"), "{said}");

    fs::write(droplet.folder.path().join("agent.json"), "{").unwrap();
    let said = run(droplet.command(&["run"])).await;
    assert!(said.contains("agent.json") && said.contains("EOF"), "{said}");
    fs::remove_file(droplet.folder.path().join("agent.json")).unwrap();
    let said = run(droplet.command(&["run"])).await;
    assert!(said.contains("agent.json") && said.contains("No such file"), "{said}");
}
