//! The commands as their users run them: a process, a real database, a real HTTP API.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use secrecy::SecretString;
use simulator::{Config, Handle, Simulator};
use std::{
    io::Write,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

const TOKEN: &str = "token-of-the-test";
const MASTER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const USER: &str = "5f0c2a52-6d2e-4b4e-8f0a-3f1f0a3c9b11";
/// Nobody listens on the discard port of loopback.
const NOWHERE: &str = "postgres://nobody@127.0.0.1:9/nothing";

/// Runs `toolplane` with these variables and no others.
fn run(variables: &[(&str, &str)], arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_toolplane"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses early does not read what it is given.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    // Reports are wrapped to the terminal's width; what they say is what counts.
    let text = String::from_utf8_lossy(&output.stderr).replace(['│', '\n'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A migrated database of this test's own, with one user.
async fn database() -> String {
    type Failure = Box<dyn std::error::Error + Send + Sync>;
    let url = cluster::testing::database::<Failure, _>(async |url| {
        let database = schema::Database::connect(&schema::ConnectOptions::new(url.into(), None)).await?;
        database.migrate().await?;
        database.close().await;
        Ok(())
    })
    .await
    .unwrap();
    let database = schema::Database::connect(&schema::ConnectOptions::new(url.clone().into(), None))
        .await
        .unwrap();
    database.user_ensure(USER.parse().unwrap()).await.unwrap();
    database.close().await;
    url
}

async fn digitalocean() -> (Handle, TempDir) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(SecretString::from(TOKEN), folder.path().join("simulator"));
    (Simulator::start(config).await.unwrap(), folder)
}

fn manifests() -> String {
    format!(
        "apiVersion: toolplane.dev/v1\nkind: ToolCatalogEntry\nmetadata: {{name: Echo}}\nspec:\n  package_identifier: acme/echo\n  \
         version_info: {{available_versions: [\"1\", \"2\"], default_version: \"1\"}}\n---\n\
         apiVersion: toolplane.dev/v1\nkind: AccountToolEnvironment\nmetadata: {{name: example}}\nspec:\n  user_id: {USER}\n  \
         region_slug: nyc3\n  size_slug: s-1vcpu-1gb\n  image_slug: ubuntu-22-04-x64\n---\n\
         apiVersion: toolplane.dev/v1\nkind: AccountToolInstance\nmetadata: {{name: main}}\nspec: {{environment: example, tool: Echo}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_writes_all_or_nothing_and_says_what_it_did() {
    let url = database().await;
    let variables = [("TOOLPLANE_DATABASE_URL", url.as_str())];
    let apply = |text: &str, more: &[&str]| run(&variables, &[&["apply", "-f", "-"], more].concat(), text);

    let tried = apply(&manifests(), &["--dry-run"]);
    assert_eq!(
        printed(&tried),
        "toolcatalogentry/Echo created (dry run)\naccounttoolenvironment/example created (dry run)\n\
         accounttoolinstance/main created (dry run)\n",
        "{}",
        complained(&tried)
    );
    let nothing = run(&variables, &["get", "instances", "-o", "name"], "");
    assert_eq!(printed(&nothing).trim(), "");

    let created = apply(&manifests(), &[]);
    assert_eq!(
        printed(&created),
        "toolcatalogentry/Echo created\naccounttoolenvironment/example created\naccounttoolinstance/main created\n"
    );
    let changed = apply(&manifests().replace("tool: Echo}", "tool: Echo, version_to_run: \"2\"}"), &[]);
    assert_eq!(
        printed(&changed),
        "toolcatalogentry/Echo unchanged\naccounttoolenvironment/example unchanged\naccounttoolinstance/main configured\n"
    );

    // Everything is right but for what only the database knows: this user does not exist.
    let unknown_user = "00000000-0000-0000-0000-000000000000";
    let wrong = manifests()
        .replace("s-1vcpu-1gb", "s-2vcpu-2gb")
        .replace(USER, unknown_user)
        .replace("default_version: \"1\"", "default_version: \"2\"");
    let refused = apply(&wrong, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        complained(&refused).contains("nothing was changed: accounttoolenvironment/example"),
        "{}",
        complained(&refused)
    );
    let catalog = run(&variables, &["get", "catalog", "Echo", "-o", "json"], "");
    assert!(
        printed(&catalog).contains("\"default_version\": \"1\""),
        "{}",
        printed(&catalog)
    );

    // What `get` prints can be applied again, and changes nothing.
    let instances = printed(&run(&variables, &["get", "instances", "main", "-o", "yaml"], ""));
    assert!(instances.contains("version_to_run: \"2\""), "{instances}");
    let again = apply(&instances, &[]);
    assert_eq!(
        printed(&again),
        "accounttoolinstance/main unchanged\n",
        "{}",
        complained(&again)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_asks_digitalocean_for_regions_and_sizes_before_it_writes() {
    let (url, (simulator, _folder)) = (database().await, digitalocean().await);
    let variables = [
        ("TOOLPLANE_DATABASE_URL", url.as_str()),
        ("TOOLPLANE_DIGITALOCEAN_URL", simulator.base_url().as_str()),
        ("TOOLPLANE_DIGITALOCEAN_TOKEN", TOKEN),
    ];
    let refused = run(&variables, &["apply", "-f", "-"], &manifests().replace("nyc3", "xyz9"));
    assert_eq!(refused.status.code(), Some(1));
    let said = complained(&refused);
    assert!(
        said.contains("standard input, document 2, line 13: spec.region_slug: DigitalOcean has no region `xyz9`"),
        "{said}"
    );
    assert_eq!(printed(&run(&variables, &["get", "catalog", "-o", "name"], "")).trim(), "");
    let taken = run(&variables, &["apply", "-f", "-"], &manifests());
    assert!(taken.status.success(), "{}", complained(&taken));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_is_content_when_everything_is_there() {
    let (url, (simulator, folder)) = (database().await, digitalocean().await);
    let agent = folder.path().join("dtma");
    std::fs::write(&agent, "#!/bin/sh\necho dtma 0.1.0\n").unwrap();
    std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let variables = [
        ("TOOLPLANE_DATABASE_URL", url.as_str()),
        ("TOOLPLANE_DIGITALOCEAN_URL", simulator.base_url().as_str()),
        ("TOOLPLANE_DIGITALOCEAN_TOKEN", TOKEN),
        ("TOOLPLANE_MASTER_KEY", MASTER_KEY),
        ("TOOLPLANE_AGENT_BINARY", agent.to_str().unwrap()),
        ("TOOLPLANE_BACKEND_CIDRS", "203.0.113.0/24"),
    ];
    let report = run(&variables, &["doctor"], "");
    assert!(report.status.success(), "{}", printed(&report));
    let parts: Vec<String> = printed(&report)
        .lines()
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        parts,
        [
            "ok configuration",
            "ok database",
            "ok pooler",
            "ok migrations",
            "ok notifications",
            "ok digitalocean",
            "ok master",
            "ok agent",
            "ok firewall",
            "skipped docker"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_wrong_and_what_to_do() {
    let (simulator, _folder) = digitalocean().await;
    let variables = [
        ("TOOLPLANE_DATABASE_URL", NOWHERE),
        ("TOOLPLANE_DIGITALOCEAN_URL", simulator.base_url().as_str()),
        ("TOOLPLANE_DIGITALOCEAN_TOKEN", "another-token"),
        ("TOOLPLANE_AGENT_BINARY", "/nowhere/dtma"),
    ];
    let report = run(&variables, &["doctor"], "");
    assert_eq!(report.status.code(), Some(1));
    let said = printed(&report);
    for line in [
        "failed  database            the database does not answer",
        "database_url is right",
        "skipped migrations          needs the database",
        "failed  digitalocean",
        "digitalocean_token must be a valid token",
        "failed  master key          master_key: not set",
        "failed  agent binary        /nowhere/dtma",
        "failed  firewall            backend_cidrs: not set",
        "5 of the checks failed",
    ] {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    assert!(!said.contains("another-token"), "{said}");
}

#[test]
fn commands_without_a_database_name_the_setting() {
    for arguments in [&["migrate"][..], &["get", "env"]] {
        let unset = run(&[], arguments, "");
        assert_eq!(unset.status.code(), Some(1));
        assert!(complained(&unset).contains("database_url: not set"), "{}", complained(&unset));
        let nowhere = run(&[("TOOLPLANE_DATABASE_URL", NOWHERE)], arguments, "");
        assert_eq!(nowhere.status.code(), Some(1));
        assert!(complained(&nowhere).contains("database_url"), "{}", complained(&nowhere));
    }
    assert_eq!(run(&[], &["got"], "").status.code(), Some(2), "not understood");
}

#[test]
fn a_mistyped_variable_stops_every_command() {
    let variables = [("TOOLPLANE_DATABASE_URL", NOWHERE), ("TOOLPLANE_DATABASE_URLL", NOWHERE)];
    let commands = [
        &["serve"][..],
        &["migrate"],
        &["apply", "-f", "-"],
        &["get", "env"],
        &["describe", "env"],
        &["events"],
        &["plan"],
    ];
    for arguments in commands {
        let refused = run(&variables, arguments, "");
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let said = complained(&refused);
        assert!(
            said.contains("unknown environment variable TOOLPLANE_DATABASE_URLL")
                && said.contains("did you mean TOOLPLANE_DATABASE_URL?"),
            "{arguments:?}: {said}"
        );
    }
    let doctor = run(&variables, &["doctor"], "");
    assert_eq!(doctor.status.code(), Some(1));
    assert!(printed(&doctor).contains("TOOLPLANE_DATABASE_URLL"), "{}", printed(&doctor));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmigrated_database_is_not_written_to() {
    let cluster = cluster::Cluster::start(cluster::Options::default()).await.unwrap();
    let url = cluster.create_database("empty").await.unwrap();
    let variables = [("TOOLPLANE_DATABASE_URL", url.as_str())];
    let refused = run(&variables, &["apply", "-f", "-"], &manifests());
    assert!(
        complained(&refused).contains("run `toolplane migrate`"),
        "{}",
        complained(&refused)
    );
    let pending = run(&variables, &["migrate", "--check"], "");
    assert_eq!(pending.status.code(), Some(1));
    assert!(printed(&pending).contains(" pending"));
    assert!(run(&variables, &["migrate"], "").status.success());
    assert_eq!(printed(&run(&variables, &["migrate"], "")), "the schema is up to date\n");
    assert!(run(&variables, &["migrate", "--check"], "").status.success());
}
