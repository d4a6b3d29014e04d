//! What a user does with rows, and what becomes of it.

use e2e::{World, eventually};
use serde_json::Value;

/// A row is inserted by SQL; a droplet boots, its agent enrols, the tool runs and answers a real MCP call.
pub(crate) async fn inserted_rows_become_a_tool_that_answers(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;

    world.rows.until_environment(&environment, "active").await;
    world.rows.until_instance(&instance, "running").await;

    assert_eq!(world.droplets(&environment).await.len(), 1);
    let row = world.rows.instance(&instance).await;
    assert_eq!(row["actual_running_version"], "1.0.0");
    assert_eq!(row["observed_generation"], row["generation"]);
    assert!(row["runtime_details"]["container_id"].is_string(), "{row}");
    let port = row["runtime_details"]["port"].as_u64().expect("a port");
    assert!((31_000..=31_999).contains(&port), "{row}");
    let answer = world.think(&instance, "Every row is a promise.").await;
    assert!(
        answer.contains("thoughtNumber") || answer.contains("thought_number"),
        "{answer}"
    );
    world.rows.until_conditions_hold(&environment, &["Ready"]).await;
    assert!(
        world.rows.events(&environment).await.contains("DropletCreated"),
        "{}",
        world.rows.events(&environment).await
    );
}

/// `desired_state` stops a tool and starts it again on the same port.
pub(crate) async fn a_tool_stops_and_starts_by_desired_state(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;
    let port = world.rows.instance(&instance).await["runtime_details"]["port"].clone();

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_instances set desired_state = 'stopped' where id = '{instance}'"
        ))
        .await;
    world.rows.until_instance(&instance, "stopped").await;
    assert_eq!(world.running_containers(&environment).await, Vec::<String>::new());

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_instances set desired_state = 'running' where id = '{instance}'"
        ))
        .await;
    world.rows.until_instance(&instance, "running").await;
    assert_eq!(world.rows.instance(&instance).await["runtime_details"]["port"], port);
    world.think(&instance, "Still here.").await;
}

/// A program written for the first schema knows only `status`; its request is taken as one.
pub(crate) async fn a_tool_stops_and_starts_by_the_seeds_status(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_instances set status = 'stopping' where id = '{instance}'"
        ))
        .await;
    world.rows.until_instance(&instance, "stopped").await;
    assert_eq!(world.rows.instance(&instance).await["desired_state"], "stopped");

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_instances set status = 'pending_start' where id = '{instance}'"
        ))
        .await;
    world.rows.until_instance(&instance, "running").await;
}

/// Another version is another container behind the same port.
pub(crate) async fn a_version_change_replaces_the_container(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;
    let before = world.rows.instance(&instance).await;

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_instances set version_to_run = '1.1.0' where id = '{instance}'"
        ))
        .await;
    world
        .rows
        .until_instance_is(&instance, "running 1.1.0", |row| {
            row["status"] == "running"
                && row["actual_running_version"] == "1.1.0"
                && row["observed_generation"] == row["generation"]
        })
        .await;
    let after = world.rows.instance(&instance).await;
    assert_ne!(
        before["runtime_details"]["container_id"],
        after["runtime_details"]["container_id"]
    );
    assert_eq!(before["runtime_details"]["port"], after["runtime_details"]["port"]);
    assert_eq!(world.running_containers(&environment).await.len(), 1);
    world.think(&instance, "Newer, and at the same address.").await;
}

/// A removed instance leaves nothing on the droplet, and its neighbour does not notice.
pub(crate) async fn a_removed_tool_leaves_nothing(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let goes = world.rows.insert_instance(&environment, "Goes", "1.0.0").await;
    let stays = world.rows.insert_instance(&environment, "Stays", "1.0.0").await;
    world.rows.until_instance(&goes, "running").await;
    world.rows.until_instance(&stays, "running").await;
    let neighbour = world.rows.instance(&stays).await["runtime_details"]["container_id"].clone();

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_instances set desired_state = 'removed' where id = '{goes}'"
        ))
        .await;
    world.rows.until_instance(&goes, "removed").await;
    assert_eq!(world.containers(&environment).await.len(), 1);
    assert_eq!(
        world.rows.instance(&stays).await["runtime_details"]["container_id"],
        neighbour
    );

    world
        .rows
        .sql
        .must(&format!("delete from account_tool_instances where id = '{stays}'"))
        .await;
    world.until_containers(&environment, 0).await;
}

/// Another `size_slug`: the tool ends gracefully, the droplet is resized in place, and the tool is back at its address.
pub(crate) async fn another_size_keeps_the_droplet_and_brings_the_tools_back(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;
    let before = world.rows.environment(&environment).await["do_droplet_id"].clone();
    let endpoint = world.rows.instance(&instance).await["runtime_details"]["endpoint"].clone();

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_environments set size_slug = 's-2vcpu-2gb' where id = '{environment}'"
        ))
        .await;
    eventually("the same droplet in the new size", || async {
        let droplets = world.droplets(&environment).await;
        let resized = |droplet: &Value| droplet["id"] == before && droplet["size_slug"] == "s-2vcpu-2gb";
        let on = |droplet: &Value| droplet["status"] == "active";
        let done = droplets.len() == 1 && droplets.iter().all(|droplet| resized(droplet) && on(droplet));
        if done { Ok(()) } else { Err(droplets) }
    })
    .await;
    world.rows.until_conditions_hold(&environment, &["Ready", "Reconciled"]).await;
    world.rows.until_instance(&instance, "running").await;
    assert_eq!(world.rows.instance(&instance).await["runtime_details"]["endpoint"], endpoint);
    assert_eq!(
        world.ends_of_containers(&environment).await,
        ["0"],
        "it was stopped and not killed"
    );
    world.think(&instance, "More room, the same thoughts.").await;
}
