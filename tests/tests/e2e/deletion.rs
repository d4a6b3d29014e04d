//! Whatever way an environment goes, its droplet goes with it, tools first.

use e2e::{World, eventually};

/// Disabled: tools stopped, droplet destroyed, row `deleted`. Enabled again: a new droplet with the tools back.
pub(crate) async fn a_disabled_environment_is_destroyed_and_comes_back(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;
    let first = world.rows.environment(&environment).await["do_droplet_id"].clone();

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_environments set desired_state = 'deleted' where id = '{environment}'"
        ))
        .await;
    world.rows.until_environment(&environment, "deleted").await;
    let row = world.rows.environment(&environment).await;
    assert!(row["do_droplet_id"].is_null() && row["ip_address"].is_null(), "{row}");
    assert_eq!(world.droplets(&environment).await.len(), 0);
    world.until_containers(&environment, 0).await;
    world.rows.until_instance(&instance, "stopped").await;
    let ends = world.ends_of_containers(&environment).await;
    assert_eq!(ends, ["0"], "the tool ended by itself, before its droplet was destroyed");

    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_environments set desired_state = 'active' where id = '{environment}'"
        ))
        .await;
    world.rows.until_instance(&instance, "running").await;
    world.rows.until_environment(&environment, "active").await;
    assert_ne!(world.rows.environment(&environment).await["do_droplet_id"], first);
    assert_eq!(world.droplets(&environment).await.len(), 1);
    world.think(&instance, "Back again.").await;
}

/// The same by the first schema's word for it.
pub(crate) async fn the_seeds_pending_deletion_is_taken_as_a_request(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    world.rows.until_environment(&environment, "active").await;
    world
        .rows
        .sql
        .must(&format!(
            "update account_tool_environments set status = 'pending_deletion' where id = '{environment}'"
        ))
        .await;
    world.rows.until_environment(&environment, "deleted").await;
    assert_eq!(world.droplets(&environment).await.len(), 0);
}

/// The row is gone at once; its droplet follows.
pub(crate) async fn a_deleted_row_takes_its_droplet_along(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;

    world
        .rows
        .sql
        .must(&format!("delete from account_tool_environments where id = '{environment}'"))
        .await;
    world.until_droplets(&environment, 0).await;
    world.until_containers(&environment, 0).await;
    until_no_tombstone(&world, &environment).await;
}

/// A user is deleted: the cascade must not leak a droplet either, not even one that is just being made.
pub(crate) async fn a_deleted_user_takes_the_droplet_along(mut world: World) {
    world.start().await;
    let environment = world.rows.insert_environment().await;
    world
        .rows
        .until_environment_is(&environment, "creating or active", |row| {
            row["status"] == "creating" || row["status"] == "active"
        })
        .await;

    let user = world.rows.environment(&environment).await["user_id"]
        .as_str()
        .expect("a user")
        .to_owned();
    world
        .rows
        .sql
        .must(&format!("delete from auth.users where id = '{user}'"))
        .await;
    until_no_tombstone(&world, &environment).await;
    world.until_droplets(&environment, 0).await;
}

async fn until_no_tombstone(world: &World, environment: &str) {
    eventually("the tombstone to be worked off", || async move {
        let left = world
            .rows
            .sql
            .must(&format!(
                "select count(*) from environment_tombstones where environment_id = '{environment}'"
            ))
            .await;
        if left == "0" { Ok(()) } else { Err(left) }
    })
    .await;
}
