//! Wrong input: a clear error that names the field or the part, and nothing changed.

use e2e::{World, control_plane::free_address};
use serde_json::Value;
use std::{net::TcpListener, process::Output};

const CATALOG: &str = "apiVersion: toolplane.dev/v1\nkind: ToolCatalogEntry\nmetadata:\n  name: Never Written\nspec:\n  \
    package_identifier: acme/never\n  version_info: {available_versions: [\"1\"], default_version: \"1\"}\n";

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Applies a manifest that must be refused, and checks that nothing of it was written.
async fn refused(world: &World, manifest: &str, names: &[&str]) {
    let before = counts(world).await;
    let file = world.folder().join("manifest.yaml");
    std::fs::write(&file, manifest).expect("the story's folder is writable");
    let output = world.settings().run(&["apply", "-f", &file.display().to_string()]).await;
    assert!(!output.status.success(), "it was taken: {}", said(&output));
    for name in names {
        assert!(said(&output).contains(name), "{name:?} is not named in:\n{}", said(&output));
    }
    assert_eq!(counts(world).await, before, "something was written");
}

async fn counts(world: &World) -> String {
    let count = |table: &str| format!("(select count(*) from {table})");
    let tables = ["tool_catalog", "account_tool_environments", "account_tool_instances"]
        .map(count)
        .join(", ");
    world.rows.sql.must(&format!("select {tables}")).await
}

pub(crate) async fn an_unknown_field_in_a_manifest(world: World) {
    let manifest = format!("{CATALOG}  privileged: true\n");
    refused(&world, &manifest, &["privileged", "manifest.yaml"]).await;
}

/// The good document before the bad one is not written either.
pub(crate) async fn a_tool_that_is_not_in_the_catalog(world: World) {
    let user = world.rows.insert_user().await;
    let manifest = format!(
        "{CATALOG}---\napiVersion: toolplane.dev/v1\nkind: AccountToolEnvironment\nmetadata:\n  name: example\nspec:\n  user_id: {user}\n  \
         region_slug: nyc3\n  size_slug: s-1vcpu-1gb\n  image_slug: ubuntu-22-04-x64\n---\napiVersion: toolplane.dev/v1\n\
         kind: AccountToolInstance\nmetadata:\n  name: missing\nspec:\n  environment: example\n  tool: No Such Tool\n"
    );
    refused(&world, &manifest, &["No Such Tool", "catalog"]).await;
}

pub(crate) async fn a_region_that_does_not_exist(world: World) {
    let user = world.rows.insert_user().await;
    let manifest = format!(
        "apiVersion: toolplane.dev/v1\nkind: AccountToolEnvironment\nmetadata:\n  name: example\nspec:\n  user_id: {user}\n  \
         region_slug: atlantis1\n  size_slug: s-1vcpu-1gb\n  image_slug: ubuntu-22-04-x64\n"
    );
    refused(&world, &manifest, &["region_slug", "atlantis1"]).await;
}

/// `doctor` tells at once; a control plane that runs with it makes nothing, and the row says which setting is wrong.
pub(crate) async fn a_wrong_token(mut world: World) {
    world.set("TOOLPLANE_DIGITALOCEAN_TOKEN", "wrong");
    let output = world.settings().run(&["doctor"]).await;
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("digitalocean_token"), "{}", said(&output));

    world.start().await;
    let environment = world.rows.insert_environment().await;
    let named = |row: &Value| row["conditions"].to_string().contains("digitalocean_token");
    world
        .rows
        .until_environment_is(&environment, "told of the wrong token", named)
        .await;
    assert_eq!(world.all_droplets().await.len(), 0);
}

pub(crate) async fn a_port_in_use(mut world: World) {
    let address = free_address();
    let _taken = TcpListener::bind(address).expect("it was free a moment ago");
    world.set("TOOLPLANE_LISTEN", &address.to_string());
    let output = world.settings().run(&["serve"]).await;
    assert!(!output.status.success());
    assert!(
        said(&output).contains("listen") && said(&output).contains(&address.to_string()),
        "{}",
        said(&output)
    );
}

/// No engine answers and none is installed: `doctor` and `demo` say so, and what to install.
pub(crate) async fn no_docker(mut world: World) {
    world.set("DOCKER_HOST", &format!("unix://{}/no.sock", world.folder().display()));
    let state = world.folder().join("demo").display().to_string();
    for arguments in [vec!["doctor", "--demo"], vec!["demo", "--once", "--state-dir", &state]] {
        let output = world.settings().run_without("dockerd", &arguments).await;
        assert!(
            !output.status.success(),
            "{arguments:?} went on without Docker: {}",
            said(&output)
        );
        assert!(said(&output).contains("docker.io"), "{arguments:?}: {}", said(&output));
    }
}

pub(crate) async fn no_postgres(mut world: World) {
    let nowhere = free_address();
    world.set("TOOLPLANE_DATABASE_URL", &format!("postgres://nobody@{nowhere}/nothing"));
    for command in ["doctor", "serve", "get"] {
        let arguments: &[&str] = if command == "get" {
            &["get", "environments"]
        } else {
            &[command]
        };
        let output = world.settings().run(arguments).await;
        assert!(!output.status.success(), "{command} went on without a database");
        assert!(said(&output).contains("database_url"), "{command}: {}", said(&output));
    }
}
