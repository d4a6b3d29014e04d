//! Generations, what is fixed, and what is refused.

use crate::support::{Scene, environment_spec, instance_spec, refused};
use model::{EnvironmentStatus, IntentKind, IntentOutcome};
use std::time::Duration;

#[tokio::test]
async fn the_generation_rises_with_the_specification_only() {
    let scene = Scene::new().await;
    scene.instance(scene.environment().await, "one").await;
    scene.sql("insert into tool_catalog (id, tool_name, package_identifier) values ('00000000-0000-4000-8000-0000000000bb', 'Other', 'other')").await;
    let cases = [
        ("account_tool_environments", "region_slug = 'ams3'", true),
        ("account_tool_environments", "size_slug = 's-2vcpu-2gb'", true),
        ("account_tool_environments", "image_slug = 'ubuntu-24-04-x64'", true),
        ("account_tool_environments", "desired_state = 'deleted'", true),
        ("account_tool_environments", "desired_state = 'deleted'", false),
        ("account_tool_environments", "status = 'pending_creation'", true),
        ("account_tool_environments", "paused = true", true),
        ("account_tool_environments", "paused = true, size_slug = 's-1vcpu-1gb'", true),
        ("account_tool_environments", "generation = 99", false),
        (
            "account_tool_environments",
            "error_message = 'x', observed_at = now(), conditions = '[{}]'",
            false,
        ),
        (
            "account_tool_environments",
            "last_heartbeat_at = now(), agent_epoch = 7, do_droplet_id = 7",
            false,
        ),
        ("account_tool_instances", "instance_name = 'two'", true),
        ("account_tool_instances", "version_to_run = '2'", true),
        ("account_tool_instances", "config_values_override = '{\"pids\": 5}'", true),
        ("account_tool_instances", "config_values_override = '{\"pids\":5}'", false),
        ("account_tool_instances", "config_values_override = null", true),
        ("account_tool_instances", "desired_state = 'stopped'", true),
        ("account_tool_instances", "status = 'pending_removal'", true),
        ("account_tool_instances", "paused = true", true),
        (
            "account_tool_instances",
            "tool_catalog_id = '00000000-0000-4000-8000-0000000000bb'",
            true,
        ),
        ("account_tool_instances", "generation = 99", false),
        (
            "account_tool_instances",
            "actual_running_version = '1', runtime_details = '{\"port\": 1}'",
            false,
        ),
    ];
    for (table, set, rises) in cases {
        let before: i64 = scene.read(format!("select generation::text from {table}")).await[0]
            .parse()
            .unwrap();
        scene.sql(format!("update {table} set {set}")).await;
        let after: i64 = scene.read(format!("select generation::text from {table}")).await[0]
            .parse()
            .unwrap();
        assert_eq!(after - before, i64::from(rises), "{table} set {set}");
    }
}

#[tokio::test]
async fn updated_at_is_stamped_on_every_table_that_has_it() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    let instance = scene.instance(scene.environment_of(user).await, "one").await;
    scene.sql(format!("insert into agents (user_id, name) values ('{user}', 'a'); insert into agent_tool_instance_links (agent_id, account_tool_instance_id) select id, '{instance}' from agents")).await;
    for table in [
        "tool_catalog",
        "account_tool_environments",
        "account_tool_instances",
        "agent_tool_instance_links",
    ] {
        scene.sql(format!("update {table} set updated_at = '-infinity'")).await;
        let found = scene
            .read(format!("select (updated_at > created_at)::text from {table}"))
            .await;
        assert_eq!(found, ["true"], "{table}");
    }
}

/// From an open intent on, not only from the recorded droplet: it may have been made by then.
#[tokio::test]
async fn region_and_image_are_fixed_while_a_droplet_may_exist() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    let id = scene.environment_of(user).await;
    scene
        .as_user(user, "update account_tool_environments set region_slug = 'ams3'")
        .await
        .unwrap();

    let fence = scene.fence(id).await;
    let intent = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, Duration::from_mins(1))
        .await
        .unwrap();
    let is_fixed = async |column: &str| {
        for role in ["authenticated", "service_role", "postgres"] {
            let set = format!("update account_tool_environments set {column} = 'other', size_slug = 'other'");
            let refusal = scene.as_role(role, Some(user), &set).await.unwrap_err();
            assert_eq!(refusal.column.as_deref(), Some(column));
            assert!(refusal.to_string().contains("fixed once a droplet exists"), "{refusal}");
        }
    };
    is_fixed("region_slug").await;
    is_fixed("image_slug").await;

    scene.record_droplet(id, 17).await;
    let fence = scene.fence(id).await;
    scene
        .controller
        .intent_resolve(&fence, intent.id, IntentOutcome::Adopted)
        .await
        .unwrap();
    is_fixed("region_slug").await;
    is_fixed("image_slug").await;
    scene
        .as_user(user, "update account_tool_environments set size_slug = 's-2vcpu-2gb'")
        .await
        .unwrap();
    // The same value again is no change.
    scene
        .as_user(user, "update account_tool_environments set region_slug = region_slug")
        .await
        .unwrap();

    let row = scene.row(id).await;
    let gone = EnvironmentStatus {
        droplet_id: None,
        ..row.status
    };
    let written = scene
        .controller
        .environment_status_write(&fence, id, row.generation, &gone)
        .await
        .unwrap();
    assert_eq!(written, schema::Written::Done);
    scene
        .as_user(
            user,
            "update account_tool_environments set region_slug = 'fra1', image_slug = 'other'",
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn owner_and_environment_are_fixed_always() {
    let scene = Scene::new().await;
    let (one, two) = (scene.environment().await, scene.environment().await);
    let other = scene.user().await;
    let instance = scene.instance(one, "one").await;
    for (statement, column) in [
        (
            format!("update account_tool_environments set user_id = '{other}' where id = '{one}'"),
            "user_id",
        ),
        (
            format!("update account_tool_instances set account_tool_environment_id = '{two}' where id = '{instance}'"),
            "account_tool_environment_id",
        ),
    ] {
        let refusal = scene.as_role("postgres", None, &statement).await.unwrap_err();
        assert_eq!(refusal.column.as_deref(), Some(column), "{refusal}");
        assert!(refusal.message.contains("is fixed"), "{refusal}");
    }
}

#[tokio::test]
async fn truncate_is_refused_because_it_would_leak_droplets() {
    let scene = Scene::new().await;
    for table in ["account_tool_environments", "auth.users"] {
        let refusal = scene
            .as_role("postgres", None, &format!("truncate {table} cascade"))
            .await
            .unwrap_err();
        assert!(refusal.to_string().contains("Use DELETE"), "{refusal}");
    }
}

#[tokio::test]
async fn slugs_versions_and_names_are_checked() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    for (field, constraint) in [
        ("region_slug", "region_slug_is_a_slug"),
        ("size_slug", "size_slug_is_a_slug"),
        ("image_slug", "image_slug_is_a_slug"),
    ] {
        for bad in ["", "NYC3", "nyc 3", "nyc3\n", "-x", "a;b", &"x".repeat(64)] {
            let mut spec = serde_json::to_value(environment_spec(user)).unwrap();
            spec[field] = bad.into();
            let spec = serde_json::from_value(spec).unwrap();
            let refusal = refused(scene.service.apply_environment(&spec).await.unwrap_err());
            assert_eq!(refusal.constraint.as_deref(), Some(constraint), "{bad:?}: {refusal}");
        }
    }
    let spec = environment_spec(user);
    let (environment, _) = scene.service.apply_environment(&spec).await.unwrap();
    let good = instance_spec(environment, scene.tool().await, "one");
    for (field, bad, constraint) in [
        ("version_to_run", serde_json::json!("1 2"), "version_to_run_is_a_tag"),
        ("version_to_run", serde_json::json!(""), "version_to_run_is_a_tag"),
        ("instance_name", serde_json::json!(" "), "instance_name_is_not_blank"),
        (
            "config_values_override",
            serde_json::json!([]),
            "config_values_override_is_an_object",
        ),
        (
            "tool_catalog_id",
            serde_json::json!("00000000-0000-4000-8000-00000000dead"),
            "account_tool_instances_tool_catalog_id_fkey",
        ),
    ] {
        let mut spec = serde_json::to_value(&good).unwrap();
        spec[field] = bad;
        let refusal = refused(
            scene
                .service
                .apply_instance(&serde_json::from_value(spec).unwrap())
                .await
                .unwrap_err(),
        );
        assert_eq!(refusal.constraint.as_deref(), Some(constraint), "{refusal}");
    }
}

/// Columns of the catalog with values, and whether they are let in.
const CATALOG_VALUES: [(&str, &str, bool); 48] = [
    ("package_identifier", "'acme/echo'", true),
    ("package_identifier", "'127.0.0.1:5000/acme/echo_2'", true),
    ("package_identifier", "'acme/echo:1'", false),
    ("package_identifier", "'Acme/Echo'", false),
    ("package_identifier", "'acme echo'", false),
    (
        "version_info",
        r#"'{"available_versions": ["1"], "default_version": "1"}'"#,
        true,
    ),
    (
        "version_info",
        r#"'{"available_versions": ["1"], "default_version": "1", "version_details": {"1": {}}}'"#,
        true,
    ),
    (
        "version_info",
        r#"'{"available_versions": ["1"], "default_version": "2"}'"#,
        false,
    ),
    (
        "version_info",
        r#"'{"available_versions": ["a b"], "default_version": "a b"}'"#,
        false,
    ),
    (
        "version_info",
        r#"'{"available_versions": [1], "default_version": "1"}'"#,
        false,
    ),
    (
        "version_info",
        r#"'{"available_versions": ["1"], "default_version": "1", "more": 1}'"#,
        false,
    ),
    (
        "version_info",
        r#"'{"available_versions": ["1"], "default_version": "1", "version_details": {"1": {"image": "x"}}}'"#,
        false,
    ),
    (
        "version_info",
        r#"'{"available_versions": ["1"], "default_version": "1", "version_details": {"1": {"package_identifier_override": 1}}}'"#,
        false,
    ),
    ("version_info", "'[]'", false),
    ("version_info", "'{}'", false),
    ("default_config_template", "null", true),
    ("default_config_template", "'{}'", true),
    (
        "default_config_template",
        r#"'{"environment": {"A": "b"}, "arguments": ["x"], "container_port": 1, "memory_mb": 1, "cpu_millis": 1, "pids": 1, "probe": {"type": "http", "path": "/x"}, "stop_grace_seconds": 0}'"#,
        true,
    ),
    (
        "default_config_template",
        r#"'{"arguments": null, "container_port": null, "probe": null, "pids": null}'"#,
        true,
    ),
    ("default_config_template", r#"'{"probe": {"type": "tcp"}}'"#, true),
    (
        "default_config_template",
        r#"'{"probe": {"type": "mcp", "path": "/mcp"}}'"#,
        true,
    ),
    ("default_config_template", r#"'{"probe": {"type": "mcp"}}'"#, false),
    (
        "default_config_template",
        r#"'{"probe": {"type": "exec", "path": "/x"}}'"#,
        false,
    ),
    (
        "default_config_template",
        r#"'{"probe": {"type": "http", "path": "/x", "port": 1}}'"#,
        false,
    ),
    ("default_config_template", r#"'{"privileged": true}'"#, false),
    ("default_config_template", r#"'{"environment": {"A": 1}}'"#, false),
    ("default_config_template", r#"'{"environment": null}'"#, false),
    ("default_config_template", r#"'{"arguments": [1]}'"#, false),
    ("default_config_template", r#"'{"arguments": [null]}'"#, false),
    ("default_config_template", r#"'{"arguments": "x"}'"#, false),
    ("default_config_template", r#"'{"container_port": 0}'"#, false),
    ("default_config_template", r#"'{"container_port": 70000}'"#, false),
    ("default_config_template", r#"'{"container_port": "80"}'"#, false),
    ("default_config_template", r#"'{"memory_mb": 1.5}'"#, false),
    ("default_config_template", r#"'{"memory_mb": -1}'"#, false),
    ("default_config_template", r#"'{"pids": 4294967296}'"#, false),
    ("default_config_template", "'[]'", false),
    ("required_secrets_schema", "null", true),
    (
        "required_secrets_schema",
        r#"'[{"name": "K", "env_var_name": "K", "description": "d"}]'"#,
        true,
    ),
    ("required_secrets_schema", r#"'[{"name": "K"}]'"#, false),
    ("required_secrets_schema", r#"'[{"name": 1, "env_var_name": "K"}]'"#, false),
    (
        "required_secrets_schema",
        r#"'[{"name": "K", "env_var_name": "A B"}]'"#,
        false,
    ),
    (
        "required_secrets_schema",
        r#"'[{"name": "K", "env_var_name": "K", "value": "secret"}]'"#,
        false,
    ),
    ("required_secrets_schema", r#"'["K"]'"#, false),
    ("required_secrets_schema", "'{}'", false),
    ("resource_requirements", r#"'{"min_ram_mb": 512}'"#, true),
    ("resource_requirements", "'[]'", false),
    ("tool_name", "' '", false),
];

/// What the catalog's constraints let through, the program understands: one bad entry would stop the list for everybody.
#[tokio::test]
async fn a_catalog_entry_that_is_let_in_can_be_read() {
    let scene = Scene::new().await;
    scene.tool().await;
    for (column, value, good) in CATALOG_VALUES {
        let set = format!("update tool_catalog set {column} = {value}");
        let written = scene.as_role("service_role", None, &set).await;
        assert_eq!(written.is_ok(), good, "{set}: {written:?}");
        let read = scene.service.catalog_list().await;
        assert!(read.is_ok(), "{set}: {read:?}");
    }
}

/// The seed's defaults, as a program that knows no more would meet them.
#[tokio::test]
async fn defaults_are_those_of_the_seed() {
    let scene = Scene::new().await;
    scene
        .sql("insert into tool_catalog (tool_name, package_identifier) values ('Plain', 'acme/plain')")
        .await;
    let plain = scene.service.catalog_list().await.unwrap().remove(0);
    assert_eq!(plain.version_info.available_versions, ["latest"]);
    assert_eq!(plain.version_info.default_version, "latest");
    assert_eq!(plain.default_config_template, model::container::ContainerDefaults::default());
    let found = scene.read("select format('%s %s %s %s', packaging_type, status, required_secrets_schema, resource_requirements) from tool_catalog").await;
    assert_eq!(found, ["docker_image available [] {}"]);

    let id = scene.environment().await;
    let row = scene.row(id).await;
    assert_eq!(row.generation, 1);
    assert_eq!(row.status, EnvironmentStatus::default());
}
