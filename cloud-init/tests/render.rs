//! The rendered user data: as written down in `golden.yaml`, safe against any value, and taken by cloud-init itself.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

use agent_api::Bootstrap;
use cloud_init::{Error, LIMIT, render};
use serde::Deserialize;
use serde_json::json;
use std::{fs, io::ErrorKind, path::Path, process::Command};

/// Fixed values. The certificate is only PEM in form; nothing here looks inside.
fn bootstrap() -> serde_json::Value {
    json!({
        "environment_id": "6f1c2f9e-0f0a-4b6e-9a55-0d6b5d1f3c01",
        "intent_id": "6f1c2f9e-0f0a-4b6e-9a55-0d6b5d1f3c02",
        "backend_url": "https://toolplane.example:8443/",
        "backend_ca_pem": "-----BEGIN CERTIFICATE-----\nMIIBExample\n-----END CERTIFICATE-----\n",
        "enrolment_token": "tpe_fq1v3ExampleExampleExampleExampleExample000",
        "agent_url": "https://toolplane.example:8443/api/v1/agent/binary/e3b0c442",
        "agent_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    })
}

fn rendered(value: serde_json::Value) -> String {
    let bootstrap: Bootstrap = serde_json::from_value(value).unwrap();
    render(&bootstrap).unwrap()
}

/// As much of cloud-config as is checked here.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudConfig {
    ssh_pwauth: bool,
    disable_root: bool,
    users: Vec<User>,
    write_files: Vec<WriteFile>,
    runcmd: Vec<Vec<String>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    name: String,
    lock_passwd: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteFile {
    path: String,
    owner: String,
    permissions: String,
    content: String,
}

fn parse(document: &str) -> CloudConfig {
    serde_saphyr::from_str(document).unwrap()
}

fn content<'a>(config: &'a CloudConfig, path: &str) -> &'a str {
    &config.write_files.iter().find(|file| file.path == path).unwrap().content
}

#[test]
fn it_is_as_written_down() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden.yaml");
    let document = rendered(bootstrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &document).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap();
    assert_eq!(
        document, expected,
        "UPDATE_GOLDEN=1 writes it anew; read the difference before you commit it"
    );
}

#[test]
fn cloud_init_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("user-data");
    fs::write(&path, rendered(bootstrap())).unwrap();
    let checked = match Command::new("cloud-init")
        .args(["schema", "--config-file"])
        .arg(&path)
        .output()
    {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: the command cloud-init (Debian package cloud-init) is not installed");
            return;
        }
        Err(error) => panic!("cloud-init: {error}"),
    };
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    assert!(checked.status.success() && said.contains("Valid cloud-config"), "{said}");
}

#[test]
fn what_the_agent_reads_is_what_was_put_in() {
    let config = parse(&rendered(bootstrap()));
    let agent = Bootstrap::from_json(content(&config, "/etc/toolplane/agent.json").as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(agent).unwrap(), bootstrap());
    let secret = config
        .write_files
        .iter()
        .find(|file| file.path == "/etc/toolplane/agent.json")
        .unwrap();
    assert_eq!((secret.permissions.as_str(), secret.owner.as_str()), ("0600", "root:root"));
    let token = "tpe_fq1v3";
    let carriers = config.write_files.iter().filter(|file| file.content.contains(token)).count();
    assert_eq!(carriers, 1, "only agent.json carries the token");
}

#[test]
fn no_value_breaks_out_of_its_place() {
    let nasty = "-----BEGIN CERTIFICATE-----\"\n  - path: /etc/shadow\n\\U0000 {{ x }} {% y %} # é\u{85}\u{2028}😀\t\r\0'`$(id)";
    let mut value = bootstrap();
    value["backend_ca_pem"] = nasty.into();
    value["enrolment_token"] = nasty.into();
    value["agent_url"] = "https://toolplane.example/a\"b\\c {x}?q=\"'`$(id)#\"é".into();
    let config = parse(&rendered(value.clone()));
    let plain = parse(&rendered(bootstrap()));

    assert_eq!(content(&config, "/etc/toolplane/ca.pem"), nasty);
    let agent: serde_json::Value = serde_json::from_str(content(&config, "/etc/toolplane/agent.json")).unwrap();
    assert_eq!(agent["enrolment_token"], nasty);
    let paths = |config: &CloudConfig| config.write_files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&config), paths(&plain));
    assert_eq!((&config.users, &config.runcmd), (&plain.users, &plain.runcmd));
    let url = content(&config, "/etc/toolplane/agent.url");
    assert_eq!(url.lines().count(), 1);
}

#[test]
fn nobody_logs_in_with_a_password() {
    let config = parse(&rendered(bootstrap()));
    assert!(!config.ssh_pwauth);
    assert!(config.users.iter().all(|user| user.lock_passwd));
}

#[test]
fn the_bootstrap_script_is_a_shell_script() {
    let config = parse(&rendered(bootstrap()));
    let script = content(&config, "/usr/local/lib/toolplane/bootstrap");
    let checked = Command::new("sh").args(["-n", "-c", script]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn what_does_not_fit_or_cannot_work_is_refused() {
    let mut value = bootstrap();
    value["backend_ca_pem"] = format!("-----BEGIN CERTIFICATE-----\n{}", "A".repeat(LIMIT / 2)).into();
    let long: Bootstrap = serde_json::from_value(value).unwrap();
    assert!(matches!(render(&long), Err(Error::TooLong { bytes }) if bytes > LIMIT));
    let mut value = bootstrap();
    value["backend_url"] = "http://toolplane.example/".into();
    let plain: Bootstrap = serde_json::from_value(value).unwrap();
    assert!(matches!(render(&plain), Err(Error::Bootstrap(_))));
}
