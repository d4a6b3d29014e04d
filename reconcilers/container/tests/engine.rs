//! Stories on a real container engine: the one at `DOCKER_HOST`, or the machine's. Without one they are skipped.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

mod support;

use bollard::{
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder},
};
use container_reconciler::{Engine, labels, purge};
use model::{DropletId, InstanceId, InstanceState, container::Probe, desired::RunState};
use std::collections::HashMap;
use support::{Droplet, on_a_droplet, with_image};

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_pulled_and_runs_hardened() {
    on_a_droplet(async |droplet| {
        let instance = droplet.instance(&["serve"]);
        droplet.start();
        droplet.want(&[&instance]);
        let report = droplet.until_running(&instance).await;
        assert_eq!((report.port, report.version.as_deref()), (Some(31_000), Some("1.0.0")));
        assert!(report.image_digest.unwrap().starts_with("sha256:"));
        assert_eq!(droplet.endpoint(instance.instance_id).unwrap().port, 31_000);

        let facts = droplet.get(instance.instance_id, "/facts").await;
        for expected in [
            "CapEff:0000000000000000",
            "CapBnd:0000000000000000",
            "NoNewPrivs:1",
            "Seccomp:2",
            "WritableRoot:false",
            "WritableShim:false",
            "WritableTmp:true",
            "Init:docker-init",
            "Greeting:hello",
        ] {
            assert!(facts.lines().any(|fact| fact == expected), "{expected} is missing:\n{facts}");
        }
        assert_hardened(droplet, &report.container_id.unwrap()).await;
        assert_isolated(droplet).await;
    })
    .await;
}

async fn assert_hardened(droplet: &Droplet, container: &str) {
    let inspected = droplet.inspect(container).await;
    let host = serde_json::to_value(inspected.host_config.unwrap()).unwrap();
    for (field, expected) in [
        ("Privileged", serde_json::json!(false)),
        ("ReadonlyRootfs", serde_json::json!(true)),
        ("Init", serde_json::json!(true)),
        ("CapDrop", serde_json::json!(["ALL"])),
        ("CapAdd", serde_json::json!(null)),
        ("SecurityOpt", serde_json::json!(["no-new-privileges:true"])),
        ("Memory", serde_json::json!(48 << 20)),
        ("NanoCpus", serde_json::json!(500_000_000)),
        ("PidsLimit", serde_json::json!(32)),
        ("RestartPolicy", serde_json::json!({"Name": "no", "MaximumRetryCount": 0})),
        ("Binds", serde_json::json!(null)),
        ("Devices", serde_json::json!(null)),
        ("PidMode", serde_json::json!("")),
        ("UTSMode", serde_json::json!("")),
        ("UsernsMode", serde_json::json!("")),
        ("IpcMode", serde_json::json!("private")),
        ("CgroupnsMode", serde_json::json!("private")),
        ("NetworkMode", serde_json::json!(labels::network_name(droplet.id))),
        (
            "LogConfig",
            serde_json::json!({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}),
        ),
    ] {
        let actual = host.get(field).cloned().unwrap_or_default();
        assert_eq!(actual, expected, "{field}");
    }
    let mounts: Vec<_> = inspected
        .mounts
        .unwrap()
        .into_iter()
        .map(|mount| (mount.destination, mount.rw))
        .collect();
    assert_eq!(mounts, [(Some("/.toolplane/exec".to_owned()), Some(false))]);
    for (_, bindings) in inspected.network_settings.unwrap().ports.unwrap() {
        for binding in bindings.unwrap_or_default() {
            assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        }
    }
}

async fn assert_isolated(droplet: &Droplet) {
    let name = labels::network_name(droplet.id);
    let network = droplet.bench.docker.inspect_network(&name, None).await.unwrap();
    let options = network.options.unwrap();
    assert_eq!(
        options.get("com.docker.network.bridge.enable_icc").map(String::as_str),
        Some("false")
    );
    assert_eq!(network.labels.unwrap().get(labels::DROPLET), Some(&droplet.id.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_killed_or_removed_comes_back() {
    on_a_droplet(async |droplet| {
        let instance = droplet.instance(&["serve"]);
        droplet.start();
        droplet.want(&[&instance]);
        let first = droplet.until_running(&instance).await.container_id.unwrap();

        droplet.kill(&first).await;
        let report = droplet
            .until(instance.instance_id, "back", |report| {
                report.state == InstanceState::Running && report.restarts == 1
            })
            .await;
        assert_eq!(
            (report.container_id.as_deref(), report.exit_code),
            (Some(first.as_str()), Some(137))
        );
        assert_eq!(droplet.get(instance.instance_id, "/").await, "ok");

        let force = RemoveContainerOptionsBuilder::default().force(true).build();
        droplet.bench.docker.remove_container(&first, Some(force)).await.unwrap();
        let report = droplet
            .until(instance.instance_id, "made anew", |report| {
                report.state == InstanceState::Running && report.restarts == 2
            })
            .await;
        assert_eq!(droplet.containers().await, [report.container_id.unwrap()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_keeps_crashing_says_why() {
    on_a_droplet(async |droplet| {
        let crashing = droplet.instance(&["crash", "3"]);
        let hogging = droplet.instance(&["hog"]);
        droplet.start();
        droplet.want(&[&crashing, &hogging]);
        let report = droplet
            .until(crashing.instance_id, "failed after restarts", |report| {
                report.state == InstanceState::Failed && report.restarts >= 2
            })
            .await;
        assert_eq!((report.reason.as_deref(), report.exit_code), (Some("Crashed"), Some(3)));
        let message = report.message.unwrap();
        for part in ["exited with code 3", "first words", "the disk is on fire", "next attempt at"] {
            assert!(message.contains(part), "{part} is missing: {message}");
        }
        let report = droplet
            .until(hogging.instance_id, "failed", |report| report.state == InstanceState::Failed)
            .await;
        assert_eq!((report.reason.as_deref(), report.exit_code), (Some("OutOfMemory"), Some(137)));
        assert_eq!(droplet.containers().await.len(), 2, "restarts make no new containers");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_start_and_remove() {
    on_a_droplet(async |droplet| {
        let mut instance = droplet.instance(&["serve"]);
        let mut deaf = droplet.instance(&["stubborn"]);
        deaf.container.stop_grace_seconds = 1;
        droplet.start();
        droplet.want(&[&instance, &deaf]);
        let container = droplet.until_running(&instance).await.container_id.unwrap();
        let stubborn = droplet.until_running(&deaf).await.container_id.unwrap();

        (instance.run, deaf.run) = (RunState::Stopped, RunState::Stopped);
        droplet.want(&[&instance, &deaf]);
        for (id, container, code) in [(instance.instance_id, &container, 143), (deaf.instance_id, &stubborn, 137)] {
            let report = droplet
                .until(id, "stopped", |report| report.state == InstanceState::Stopped)
                .await;
            assert_eq!((report.port, droplet.endpoint(id)), (Some(31_000), None));
            let state = droplet.inspect(container).await.state.unwrap();
            assert_eq!(
                (state.running, state.exit_code),
                (Some(false), Some(code)),
                "SIGTERM, and SIGKILL if it must be"
            );
        }

        instance.run = RunState::Running;
        droplet.want(&[&instance]);
        let report = droplet.until_running(&instance).await;
        assert_eq!(
            (report.container_id, report.restarts),
            (Some(container), 0),
            "starting again is no restart"
        );
        droplet.until_forgotten(deaf.instance_id).await;
        droplet.want(&[]);
        droplet.until_forgotten(instance.instance_id).await;
        assert_eq!(droplet.containers().await, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_specification_replaces_the_container_once_its_image_is_there() {
    on_a_droplet(async |droplet| {
        let mut instance = droplet.instance(&["serve"]);
        let id = instance.instance_id;
        droplet.start();
        droplet.want(&[&instance]);
        let first = droplet.until_running(&instance).await.container_id.unwrap();

        let good = instance.container.clone();
        instance.generation = 2;
        instance.version = "2.0.0".to_owned();
        instance.container = with_image(&good, "127.0.0.1:1/nothing:2");
        droplet.want(&[&instance]);
        let report = droplet
            .until(id, "failed to pull", |report| {
                report.state == InstanceState::Failed && report.generation == 2
            })
            .await;
        assert_eq!(report.reason.as_deref(), Some("ImagePullFailed"));
        assert!(report.message.unwrap().contains("127.0.0.1:1/nothing:2"));
        assert_eq!(
            (report.version.as_deref(), report.container_id.as_ref()),
            (Some("1.0.0"), Some(&first))
        );
        assert_eq!(droplet.get(id, "/").await, "ok", "the old one goes on serving");

        instance.generation = 3;
        instance.container = good;
        instance
            .container
            .environment
            .insert("GREETING".to_owned(), "goodbye".to_owned());
        droplet.want(&[&instance]);
        let report = droplet.until_running(&instance).await;
        assert_eq!((report.version.as_deref(), report.port), (Some("2.0.0"), Some(31_000)));
        assert_ne!(report.container_id.as_ref(), Some(&first));
        assert_eq!(droplet.containers().await, [report.container_id.unwrap()]);
        assert!(droplet.get(id, "/facts").await.contains("Greeting:goodbye"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_finds_its_containers_by_label() {
    on_a_droplet(async |droplet| {
        let (kept, dropped) = (droplet.instance(&["serve"]), droplet.instance(&["serve"]));
        droplet.start();
        droplet.want(&[&kept, &dropped]);
        let container = droplet.until_running(&kept).await.container_id.unwrap();
        droplet.until_running(&dropped).await;
        droplet.stop().await;

        // While no agent runs, one instance leaves the set and the other's container ends.
        droplet.kill(&container).await;
        droplet.want(&[&kept]);
        droplet.start();
        let report = droplet.until_running(&kept).await;
        assert_eq!((report.container_id.as_ref(), report.restarts), (Some(&container), 0));
        while droplet.containers().await.len() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(droplet.containers().await, [container]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_desired_set_nothing_is_touched() {
    on_a_droplet(async |droplet| {
        let instance = droplet.instance(&["serve"]);
        droplet.start();
        droplet.want(&[&instance]);
        let container = droplet.until_running(&instance).await.container_id.unwrap();
        droplet.stop().await;
        droplet.desired = container_reconciler::DesiredHandle::new();
        droplet.start();
        // The agent sees the container in its first full list, before it sees that this one was killed.
        droplet.kill(&container).await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(droplet.containers().await, [container]);
        assert_eq!(droplet.board.reports(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_stays() {
    on_a_droplet(async |droplet| {
        let instance = droplet.instance(&["serve"]);
        droplet.start();
        droplet.want(&[&instance]);
        droplet.until_running(&instance).await;

        // A neighbour whose id begins with ours, with the same instance, and a container without any label.
        let neighbour = DropletId(droplet.id.0 * 10);
        let labelled = HashMap::from([
            (labels::DROPLET.to_owned(), neighbour.to_string()),
            (labels::INSTANCE.to_owned(), instance.instance_id.to_string()),
        ]);
        let mut foreign = Vec::new();
        for (index, labels) in [Some(labelled), None].into_iter().enumerate() {
            foreign.push(create_foreign(droplet, &format!("{}-{index}", droplet.id), labels).await);
        }
        droplet.want(&[]);
        droplet.until_forgotten(instance.instance_id).await;
        let engine = Engine::new(droplet.bench.host.as_str());
        assert_eq!(purge(&engine, droplet.id).await.unwrap().networks, 1);
        for container in &foreign {
            droplet.inspect(container).await;
        }
        assert_eq!(purge(&engine, neighbour).await.unwrap().containers, 1);
        droplet.bench.docker.remove_container(&foreign[1], None).await.unwrap();
    })
    .await;
}

async fn create_foreign(droplet: &Droplet, name: &str, labels: Option<HashMap<String, String>>) -> String {
    let body = ContainerCreateBody {
        image: Some(droplet.bench.image.clone()),
        labels,
        host_config: Some(HostConfig::default()),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    droplet.bench.docker.create_container(Some(options), body).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn running_means_that_the_probe_passes() {
    on_a_droplet(async |droplet| {
        let mut mcp = droplet.instance(&["serve"]);
        mcp.container.probe = Probe::Mcp { path: "/mcp".to_owned() };
        let mut late = droplet.instance(&["serve-late", "1500"]);
        late.container.probe = Probe::Tcp;
        let mut wrong = droplet.instance(&["serve"]);
        wrong.container.probe = Probe::Http {
            path: "/missing".to_owned(),
        };
        droplet.start();
        droplet.want(&[&mcp, &late, &wrong]);
        droplet.until_running(&mcp).await;
        // The engine accepts connections for it all the time.
        droplet.until_running(&late).await;
        assert_eq!(droplet.get(late.instance_id, "/").await, "ok");
        let report = droplet.board.report(wrong.instance_id).unwrap();
        assert_ne!(report.state, InstanceState::Running, "{report:?}");
        assert_eq!(droplet.endpoint(wrong.instance_id), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_is_waited_for() {
    on_a_droplet(async |droplet| {
        let instance = droplet.instance(&["serve"]);
        let id: InstanceId = instance.instance_id;
        let door = support::door::Door::open(&droplet.bench.host);
        droplet.start_at(&door.host());
        droplet.want(&[&instance]);
        let container = droplet.until_running(&instance).await.container_id.unwrap();

        let door = door.close().await;
        let report = droplet
            .until(id, "without an engine", |report| {
                report.reason.as_deref() == Some("EngineUnavailable")
            })
            .await;
        assert_eq!(report.container_id.as_ref(), Some(&container));
        assert_eq!(droplet.get(id, "/").await, "ok", "what runs is left running");
        droplet.kill(&container).await;

        let _door = door.reopen();
        let report = droplet
            .until(id, "back", |report| {
                report.state == InstanceState::Running && report.restarts == 1
            })
            .await;
        assert_eq!(report.container_id, Some(container));
    })
    .await;
}
