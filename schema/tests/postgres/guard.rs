//! The guard for programs that know only `status`.

use crate::support::Scene;

/// What became of a row: its status and what is wanted of it.
type Row<'a> = Result<(&'a str, &'a str), &'a str>;

const REFUSED: &str = "desired_state";

#[tokio::test]
async fn an_environments_status_is_a_request_or_refused() {
    let scene = Scene::new().await;
    // Before (status, desired_state), what is set, after.
    let cases: [((&str, &str), &str, Row<'_>); 15] = [
        (("active", "active"), "status = 'pending_deletion'", Ok(("active", "deleted"))),
        (
            ("deleted", "deleted"),
            "status = 'pending_creation'",
            Ok(("deleted", "active")),
        ),
        (
            ("pending_creation", "deleted"),
            "status = 'pending_creation'",
            Ok(("pending_creation", "active")),
        ),
        (("active", "active"), "status = 'active'", Ok(("active", "active"))),
        (
            ("active", "active"),
            "status = 'active', desired_state = 'deleted'",
            Ok(("active", "deleted")),
        ),
        (
            ("deleted", "deleted"),
            "status = 'pending_deletion', desired_state = 'active'",
            Ok(("deleted", "active")),
        ),
        (("active", "active"), "desired_state = 'deleted'", Ok(("active", "deleted"))),
        (("active", "active"), "status = 'creating'", Err(REFUSED)),
        (("creating", "active"), "status = 'active'", Err(REFUSED)),
        (("active", "active"), "status = 'error_creation'", Err(REFUSED)),
        (("active", "active"), "status = 'deleting'", Err(REFUSED)),
        (("active", "active"), "status = 'deleted'", Err(REFUSED)),
        (("active", "active"), "status = 'error_deletion'", Err(REFUSED)),
        (("active", "active"), "status = 'unresponsive'", Err(REFUSED)),
        (
            ("active", "active"),
            "status = 'deleted', desired_state = 'deleted'",
            Err(REFUSED),
        ),
    ];
    let user = scene.user().await;
    let environment = scene.environment_of(user).await;
    for ((status, desired), set, expected) in cases {
        for role in ["authenticated", "service_role", "postgres"] {
            scene
                .sql(format!(
                    "update account_tool_environments set desired_state = '{desired}';
                    set role toolplane_controller; update account_tool_environments set status = '{status}'; reset role"
                ))
                .await;
            let written = scene
                .as_role(
                    role,
                    Some(user),
                    &format!("update account_tool_environments set {set} where id = '{environment}'"),
                )
                .await;
            let found = scene
                .read("select format('%s %s', status, desired_state) from account_tool_environments")
                .await;
            let case = format!("{role}: {status}, {desired}: set {set}");
            match expected {
                Ok((status, desired)) => {
                    written.unwrap();
                    assert_eq!(found, [format!("{status} {desired}")], "{case}");
                }
                Err(column) => {
                    let refusal = written.unwrap_err();
                    assert_eq!(refusal.column.as_deref(), Some(column), "{case}");
                    assert!(refusal.to_string().contains("Write desired_state"), "{case}: {refusal}");
                    assert_eq!(found, [format!("{status} {desired}")], "{case}: nothing changed");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_instances_status_is_a_request_or_refused() {
    let scene = Scene::new().await;
    let cases: [((&str, &str), &str, Row<'_>); 13] = [
        (("running", "running"), "stopping", Ok(("running", "stopped"))),
        (("running", "running"), "stopped", Ok(("running", "stopped"))),
        (("running", "running"), "pending_removal", Ok(("running", "removed"))),
        (("stopped", "stopped"), "pending_start", Ok(("stopped", "running"))),
        (
            ("pending_start", "stopped"),
            "pending_start",
            Ok(("pending_start", "running")),
        ),
        (("error_runtime", "running"), "stopping", Ok(("error_runtime", "stopped"))),
        (("removed", "removed"), "pending_start", Ok(("removed", "running"))),
        (("running", "running"), "running", Ok(("running", "running"))),
        (
            ("error_runtime", "running"),
            "error_runtime",
            Ok(("error_runtime", "running")),
        ),
        (("stopped", "stopped"), "running", Err(REFUSED)),
        (("pending_start", "running"), "starting", Err(REFUSED)),
        (("running", "running"), "error_runtime", Err(REFUSED)),
        (("running", "running"), "removed", Err(REFUSED)),
    ];
    let user = scene.user().await;
    let instance = scene.instance(scene.environment_of(user).await, "one").await;
    for ((status, desired), word, expected) in cases {
        for role in ["authenticated", "service_role", "postgres"] {
            scene
                .sql(format!(
                    "update account_tool_instances set desired_state = '{desired}';
                    set role toolplane_controller; update account_tool_instances set status = '{status}'; reset role"
                ))
                .await;
            let set = format!("update account_tool_instances set status = '{word}' where id = '{instance}'");
            let written = scene.as_role(role, Some(user), &set).await;
            let found = scene
                .read("select format('%s %s', status, desired_state) from account_tool_instances")
                .await;
            let case = format!("{role}: {status}, {desired}: set status = {word}");
            match expected {
                Ok((status, desired)) => {
                    written.unwrap();
                    assert_eq!(found, [format!("{status} {desired}")], "{case}");
                }
                Err(column) => {
                    let refusal = written.unwrap_err();
                    assert_eq!(refusal.column.as_deref(), Some(column), "{case}");
                    assert_eq!(found, [format!("{status} {desired}")], "{case}: nothing changed");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_row_is_born_with_a_request_and_never_with_an_observation() {
    let scene = Scene::new().await;
    let tool = scene.tool().await;
    for (status, expected) in [
        ("pending_creation", Ok(("pending_creation", "active"))),
        ("pending_deletion", Ok(("pending_creation", "deleted"))),
        ("active", Err(REFUSED)),
        ("deleted", Err(REFUSED)),
    ] {
        let user = scene.user().await;
        let insert = format!(
            "insert into account_tool_environments (user_id, region_slug, size_slug, image_slug, status)
            values ('{user}', 'nyc3', 's-1vcpu-1gb', 'ubuntu-22-04-x64', '{status}')
            returning format('%s %s', status, desired_state)"
        );
        born(scene.as_user(user, &insert).await, expected);
    }
    let user = scene.user().await;
    let environment = scene.environment_of(user).await;
    for (status, expected) in [
        ("pending_start", Ok(("pending_start", "running"))),
        ("stopped", Ok(("pending_start", "stopped"))),
        ("stopping", Ok(("pending_start", "stopped"))),
        ("pending_removal", Ok(("pending_start", "removed"))),
        ("running", Err(REFUSED)),
        ("removed", Err(REFUSED)),
    ] {
        let insert = format!(
            "insert into account_tool_instances (account_tool_environment_id, tool_catalog_id, version_to_run, status)
            values ('{environment}', '{tool}', '1', '{status}') returning format('%s %s', status, desired_state)"
        );
        born(scene.as_user(user, &insert).await, expected);
    }
}

fn born(inserted: Result<Vec<String>, schema::Refusal>, expected: Row<'_>) {
    match expected {
        Ok((status, desired)) => assert_eq!(inserted.unwrap(), [format!("{status} {desired}")]),
        Err(column) => assert_eq!(inserted.unwrap_err().column.as_deref(), Some(column)),
    }
}

/// The controller writes any status, and none of the specification.
#[tokio::test]
async fn the_controller_writes_status_and_nothing_else() {
    let scene = Scene::new().await;
    scene.instance(scene.environment().await, "one").await;
    for status in scene
        .read("select unnest(enum_range(null::account_environment_status_enum))::text")
        .await
    {
        let set =
            format!("update account_tool_environments set status = '{status}' returning status::text || ' ' || desired_state");
        let found = scene.as_role("toolplane_controller", None, &set).await.unwrap();
        assert_eq!(found, [format!("{status} active")]);
    }
    for status in scene
        .read("select unnest(enum_range(null::tool_instance_status_enum))::text")
        .await
    {
        let set = format!("update account_tool_instances set status = '{status}' returning status::text || ' ' || desired_state");
        let found = scene.as_role("toolplane_controller", None, &set).await.unwrap();
        assert_eq!(found, [format!("{status} running")]);
    }
    let refusal = scene
        .as_role(
            "toolplane_controller",
            None,
            "update account_tool_environments set desired_state = 'deleted'",
        )
        .await
        .unwrap_err();
    assert!(refusal.message.contains("permission denied"), "{refusal}");
}
