//! The simulator as a process, killed in the middle of its work.

use crate::{
    bed::{TOKEN, plain_body},
    boot::{Backend, agent, is_alive, lines},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let token = folder.join("token");
        fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_simulator"));
        command.args(["--listen", "127.0.0.1:0", "--boot-delay-ms", "20", "--delete-delay-ms", "20"]);
        command
            .args(["--docker-host", "tcp://127.0.0.1:1"])
            .arg("--token-file")
            .arg(token);
        command.arg("--state-dir").arg(folder.join("state"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("simulator ready at ").unwrap().to_owned();
        Self { child, url }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client
            .request(method.parse().unwrap(), format!("{}{path}", self.url))
            .bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn agent_pid(&self) -> u32 {
        for _ in 0..3_000 {
            let droplets = self.ask("GET", "simulator/droplets", None).await;
            if let Some(pid) = droplets[0]["agent_pid"].as_u64() {
                return u32::try_from(pid).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the agent never came");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until_dead(pid: u32) {
    for _ in 0..3_000 {
        if !is_alive(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {pid} outlives its simulator");
}

#[tokio::test]
async fn agents_die_with_a_killed_simulator_and_the_next_one_purges_their_containers() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("agent");
    let backend = Backend::serving(agent(&log)).await;
    let mut body = plain_body("boots");
    body["user_data"] = backend.user_data().into();

    let mut first = Process::start(folder.path());
    first.ask("POST", "v2/droplets", Some(body)).await;
    let pid = first.agent_pid().await;
    first.child.kill().unwrap();
    // Its lock on the state folder goes with the last of its threads.
    first.child.wait().unwrap();
    until_dead(pid).await;
    let purged = format!("{}.purge", log.display());
    assert!(lines(&purged).is_empty(), "nobody was left to purge");

    let second = Process::start(folder.path());
    assert_eq!(lines(&purged).len(), 1, "before it is ready");
    assert_eq!(second.ask("GET", "v2/droplets", None).await["meta"]["total"], 0);
}

#[tokio::test]
async fn a_simulator_that_is_asked_to_end_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("agent");
    let backend = Backend::serving(agent(&log)).await;
    let mut body = plain_body("boots");
    body["user_data"] = backend.user_data().into();
    let mut simulator = Process::start(folder.path());
    simulator.ask("POST", "v2/droplets", Some(body)).await;
    let pid = simulator.agent_pid().await;
    let asked = Command::new("kill").arg(simulator.child.id().to_string()).status().unwrap();
    assert!(asked.success());
    assert!(simulator.child.wait().unwrap().success());
    assert!(!is_alive(pid));
    assert_eq!(lines(&format!("{}.purge", log.display())).len(), 1);
    assert_eq!(fs::read_dir(folder.path().join("state/droplets")).unwrap().count(), 0);
}
