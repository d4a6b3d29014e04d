//! What somebody or something else did is seen and put right.

use e2e::World;

/// A container is killed; the agent starts it again, and the row says that it did.
pub(crate) async fn a_killed_container_comes_back(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;

    let container = world.running_containers(&environment).await.pop().expect("one container");
    world.docker(&["kill", &container]).await;
    world
        .rows
        .until_instance_is(&instance, "running after one restart", |row| {
            row["status"] == "running" && row["runtime_details"]["restarts"].as_u64() >= Some(1)
        })
        .await;
    assert_eq!(world.running_containers(&environment).await.len(), 1);
    world.think(&instance, "As if nothing had happened.").await;
}

/// A droplet is destroyed behind our back: exactly one new one, with the tools back.
pub(crate) async fn a_droplet_destroyed_behind_our_back_is_replaced(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;
    let first = world.rows.environment(&environment).await["do_droplet_id"]
        .as_u64()
        .expect("a droplet");

    world.destroy_behind_our_back(first).await;
    world
        .rows
        .until_environment_is(&environment, "active on another droplet", |row| {
            row["status"] == "active" && row["do_droplet_id"].as_u64().is_some_and(|droplet| droplet != first)
        })
        .await;
    world
        .rows
        .until_instance_is(&instance, "running on the new droplet", |row| row["status"] == "running")
        .await;
    assert_eq!(world.droplets(&environment).await.len(), 1);
    world.until_containers(&environment, 1).await;
    world.think(&instance, "Another place, the same tool.").await;
}
