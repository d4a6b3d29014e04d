//! Droplets boot from their user data alone, and end what they started.

use crate::bed::{Bed, plain};
use digitalocean::{Droplet, DropletAction, DropletStatus};
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};
use simulator::{Config, Error, Simulator};
use std::{fs, path::Path, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};
use tokio_rustls::{TlsAcceptor, rustls};

/// A backend that serves an agent over TLS of its own authority.
pub(crate) struct Backend {
    url: String,
    ca_pem: String,
    sha256: String,
}

impl Backend {
    pub(crate) async fn serving(agent: String) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/api/v1/agent/binary/x", listener.local_addr().unwrap());
        let sha256 = hex::encode(Sha256::digest(&agent));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust the authority ends here.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    agent.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(agent.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self {
            url,
            ca_pem: made.cert.pem(),
            sha256,
        }
    }

    pub(crate) fn user_data(&self) -> String {
        let agent =
            json!({"backend_ca_pem": self.ca_pem, "agent_url": self.url, "agent_sha256": self.sha256, "enrolment_token": "t"});
        let files =
            json!({"write_files": [{"path": "/etc/toolplane/agent.json", "permissions": "0600", "content": agent.to_string()}]});
        format!("#cloud-config\n{files}\n")
    }
}

/// An agent that writes down how it was started, and has a child.
pub(crate) fn agent(log: &Path) -> String {
    let log = log.display();
    format!(
        "#!/bin/sh\necho \"$1 $DTMA_LISTEN $DTMA_METADATA_URL $DOCKER_HOST\" >> {log}.$1\nenv > {log}.env\n[ \"$1\" = purge ] && exit\n\
         test -r \"$DTMA_CONFIG\" && test -d \"$DTMA_STATE_DIR\" || exit 3\n{WAIT}"
    )
}

const WAIT: &str = "sleep 60 &\nwait\n";

async fn booted(bed: &Bed, user_data: String) -> Droplet {
    let mut create = plain("boots", &[]);
    create.user_data = Some(user_data.into());
    bed.active(&create).await
}

async fn agent_of(bed: &Bed, droplet: u64) -> u32 {
    bed.until("the agent", async || pid(bed, droplet)).await
}

fn pid(bed: &Bed, droplet: u64) -> Option<u32> {
    let known = bed.simulator.droplets();
    known.iter().find(|known| known.id == droplet)?.agent_pid
}

pub(crate) fn is_alive(pid: u32) -> bool {
    // A zombie that nobody has waited for yet is as dead as it gets.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The live processes that one of these started.
fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

pub(crate) fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_droplet_downloads_verifies_and_runs_its_agent_and_takes_it_along() {
    let bed = Bed::new().await;
    let log = bed.folder.path().join("agent");
    let backend = Backend::serving(agent(&log)).await;
    let droplet = booted(&bed, backend.user_data()).await;
    let pid = agent_of(&bed, droplet.id).await;
    let started = bed
        .until("its notes", async || lines(&format!("{}.run", log.display())).pop())
        .await;
    let address = droplet.public_ipv4().unwrap();
    let metadata = format!("{}metadata/{}/v1", bed.simulator.base_url(), droplet.id);
    assert_eq!(started, format!("run {address} {metadata} tcp://127.0.0.1:1"));
    let child = bed.until("its child", async || children_of(pid).pop()).await;
    let environment = lines(&format!("{}.env", log.display()));
    assert!(
        environment.iter().all(|line| !line.starts_with("CARGO")),
        "nothing leaks in: {environment:?}"
    );

    bed.client.droplet_delete(droplet.id).await.unwrap();
    bed.until("gone", async || bed.client.droplet_get(droplet.id).await.err())
        .await;
    bed.until("the dead", async || (!is_alive(pid) && !is_alive(child)).then_some(()))
        .await;
    assert_eq!(
        lines(&format!("{}.purge", log.display())).len(),
        1,
        "its containers are purged, once"
    );
    let console = bed.simulator.console(droplet.id).unwrap();
    assert!(
        console.contains("cloud-init wrote 1 files") && console.contains("the agent runs"),
        "{console}"
    );
    let disks = fs::read_dir(bed.folder.path().join("state/droplets")).unwrap();
    assert_eq!(disks.count(), 0, "and its disk is gone");
}

#[tokio::test]
async fn an_agent_with_another_hash_is_refused() {
    let bed = Bed::new().await;
    let log = bed.folder.path().join("agent");
    let mut backend = Backend::serving(agent(&log)).await;
    backend.sha256 = hex::encode(Sha256::digest("another agent"));
    let droplet = booted(&bed, backend.user_data()).await;
    let console = bed
        .until("the refusal", async || {
            let console = bed.get(&format!("/simulator/droplets/{}/console", droplet.id)).await;
            console
                .as_str()
                .filter(|console| console.contains("SHA-256"))
                .map(str::to_owned)
        })
        .await;
    assert!(console.contains(&backend.sha256), "it names what was expected: {console}");
    assert_eq!(pid(&bed, droplet.id), None);
    assert!(lines(&format!("{}.run", log.display())).is_empty(), "it never ran");
    assert_eq!(
        bed.client.droplet_get(droplet.id).await.unwrap().status,
        DropletStatus::Active
    );
}

#[tokio::test]
async fn an_agent_from_an_untrusted_server_is_refused() {
    let bed = Bed::new().await;
    let log = bed.folder.path().join("agent");
    let mut backend = Backend::serving(agent(&log)).await;
    backend.ca_pem = Backend::serving(String::new()).await.ca_pem;
    let droplet = booted(&bed, backend.user_data()).await;
    bed.until("the refusal", async || {
        let console = bed.simulator.console(droplet.id).unwrap_or_default();
        console.contains("could not be downloaded").then_some(())
    })
    .await;
    assert!(lines(&format!("{}.run", log.display())).is_empty(), "it never ran");
}

#[tokio::test]
async fn a_droplet_without_an_agent_is_active_all_the_same() {
    let bed = Bed::new().await;
    for user_data in [
        "#cloud-config\npackages: []\n",
        "#!/bin/sh\ntrue\n",
        "#cloud-config\n- no: [map\n",
    ] {
        let droplet = booted(&bed, user_data.to_owned()).await;
        bed.until("the console", async || {
            bed.simulator
                .console(droplet.id)
                .filter(|console| console.contains("user data"))
        })
        .await;
        assert_eq!(pid(&bed, droplet.id), None);
    }
}

#[tokio::test]
async fn a_dead_agent_is_started_again() {
    let bed = Bed::new().await;
    let log = bed.folder.path().join("agent");
    let backend = Backend::serving(agent(&log)).await;
    let droplet = booted(&bed, backend.user_data()).await.id;
    let first = agent_of(&bed, droplet).await;
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &first.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    bed.until("another agent", async || pid(&bed, droplet).filter(|pid| *pid != first))
        .await;
    bed.simulator.shutdown().await;
}

#[tokio::test]
async fn a_power_cut_ends_agent_and_containers_and_power_brings_the_agent_back() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let killed = engine(&socket);
    let bed = Bed::with(|config| config.docker_host = format!("unix://{}", socket.display())).await;
    let log = bed.folder.path().join("agent");
    let backend = Backend::serving(agent(&log)).await;
    let droplet = booted(&bed, backend.user_data()).await.id;
    let first = agent_of(&bed, droplet).await;
    bed.client.droplet_action(droplet, &DropletAction::PowerOff).await.unwrap();
    bed.until("off", async || {
        let known = bed.client.droplet_get(droplet).await.unwrap();
        (known.status == DropletStatus::Off).then_some(())
    })
    .await;
    assert!(!is_alive(first));
    let asked = killed.lock().unwrap().clone();
    assert!(asked[0].contains(&format!("io.toolplane.droplet%3D{droplet}")), "{asked:?}");
    assert!(asked[1].starts_with("POST /containers/c1/kill"), "{asked:?}");
    assert!(
        lines(&format!("{}.purge", log.display())).is_empty(),
        "the containers stay, as exited ones"
    );
    bed.client.droplet_action(droplet, &DropletAction::PowerOn).await.unwrap();
    let second = agent_of(&bed, droplet).await;
    assert_ne!(first, second);
    for action in ["power_cycle", "reboot"] {
        let before = agent_of(&bed, droplet).await;
        let path = format!("/v2/droplets/{droplet}/actions");
        assert_eq!(bed.ask("POST", &path, json!({"type": action})).await.status, 201);
        bed.until("another agent", async || pid(&bed, droplet).filter(|pid| *pid != before))
            .await;
        assert!(!is_alive(before), "{action}");
        bed.until("the action's end", async || {
            (!bed.client.droplet_get(droplet).await.unwrap().locked).then_some(())
        })
        .await;
    }
}

/// An engine with one container; it writes down what it is asked.
fn engine(socket: &Path) -> Arc<std::sync::Mutex<Vec<String>>> {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (listener, log) = (UnixListener::bind(socket).unwrap(), Arc::clone(&asked));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            let request = String::from_utf8_lossy(&bytes[..length]).into_owned();
            log.lock()
                .unwrap()
                .push(request.lines().next().unwrap_or_default().to_owned());
            let body = if request.starts_with("GET") { r#"[{"Id":"c1"}]"# } else { "" };
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    asked
}

#[tokio::test]
async fn the_next_simulator_clears_what_a_killed_one_left() {
    let bed = Bed::new().await;
    let log = bed.folder.path().join("agent");
    let backend = Backend::serving(agent(&log)).await;
    let droplet = booted(&bed, backend.user_data()).await.id;
    let pid = agent_of(&bed, droplet).await;
    let in_use = Config::new(SecretString::from("t"), bed.folder.path().join("state"));
    let error = Simulator::start(in_use.clone()).await.unwrap_err();
    assert!(matches!(error, Error::StateDirInUse(_)), "{error:?}");

    let Bed { simulator, folder, .. } = bed;
    drop(simulator);
    for _ in 0..1_000 {
        if !is_alive(pid) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!is_alive(pid), "an agent does not outlive its simulator");
    assert!(
        lines(&format!("{}.purge", log.display())).is_empty(),
        "dropped, it purges nothing"
    );
    let next = Simulator::start(in_use).await.unwrap();
    assert_eq!(lines(&format!("{}.purge", log.display())).len(), 1);
    assert_eq!(fs::read_dir(folder.path().join("state/droplets")).unwrap().count(), 0);
    next.shutdown().await;
}

#[tokio::test]
async fn only_loopback_addresses_are_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(SecretString::from("t"), folder.path());
    config.listen = "0.0.0.0:0".parse().unwrap();
    let error = Simulator::start(config).await.unwrap_err();
    assert!(error.to_string().starts_with("listen"), "{error}");
}
