//! What a user wants of an environment that runs.

use digitalocean::DropletStatus;
use e2e::Rehearsal;

/// Another `size_slug`: tools stopped first, the same droplet in another size, tools back.
pub(crate) async fn another_size_keeps_the_droplet_and_brings_the_tools_back(mut rehearsal: Rehearsal) {
    rehearsal.start().await;
    let environment = rehearsal.rows.insert_environment().await;
    let instance = rehearsal.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    rehearsal.rows.until_instance(&instance, "running").await;
    rehearsal.until_ready(&environment).await;
    let droplet = rehearsal.droplet(&environment).await;
    let port = rehearsal.rows.instance(&instance).await["runtime_details"]["port"].clone();

    let resize = format!("update account_tool_environments set size_slug = 's-2vcpu-2gb' where id = '{environment}'");
    rehearsal.rows.sql.must(&resize).await;
    rehearsal
        .until_droplet_is(droplet, "of the new size, and on", |seen| {
            seen.size_slug == "s-2vcpu-2gb" && seen.status == DropletStatus::Active
        })
        .await;
    rehearsal.until_ready(&environment).await;
    rehearsal.rows.until_instance(&instance, "running").await;
    assert_eq!(rehearsal.droplet(&environment).await, droplet);
    assert_eq!(rehearsal.rows.instance(&instance).await["runtime_details"]["port"], port);

    // Shut down, resized and started, for that column and in this order.
    let events = rehearsal.toolplane_json(&["events", "environment", &environment]).await;
    let because = "spec.size_slug of generation 2";
    let mut done = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["cause"] == because);
    for message in ["shut down", "resize", "power"] {
        let told = done.any(|event| event["message"].as_str().unwrap().contains(message));
        assert!(told, "{message:?} is not told, or not in its turn: {events}");
    }
}
