//! What a user wants of an environment that runs.

use digitalocean::DropletStatus;
use e2e::Rehearsal;
use serde_json::Value;

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

    // Told in this order, and because of that column.
    let events = rehearsal.toolplane_json(&["events", "environment", &environment]).await;
    let mut done = events["items"].as_array().unwrap().iter();
    let steps = [
        ("is told to shut down", "spec.size_slug of generation 2"),
        ("is given another size: s-2vcpu-2gb", "spec.size_slug of generation 2"),
        ("is powered on", "is powered off"),
        ("its tools come back", "was seen"),
    ];
    for (message, cause) in steps {
        let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
        let told = done.any(|event| text(event, "message").contains(message) && text(event, "cause").contains(cause));
        assert!(told, "{message:?} is not told, or not in its turn: {events}");
    }
}
