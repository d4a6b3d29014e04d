//! Everything that is done can be asked about: before, while and after.

use e2e::World;
use serde_json::Value;

/// What a command printed, and its exit code.
async fn toolplane(world: &World, arguments: &[&str]) -> (String, Option<i32>) {
    let output = world.settings().run(arguments).await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.code().is_some_and(|code| code != 1),
        "toolplane {arguments:?}: {printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (printed, output.status.code())
}

/// The actions of a plan, with why.
async fn planned(world: &World, environment: &str) -> Vec<(String, String)> {
    let (plan, _) = toolplane(world, &["plan", environment, "-o", "json"]).await;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let items = plan["items"].as_array().expect("items");
    let text = |item: &Value, field: &str| item[field].as_str().expect("text").to_owned();
    items.iter().map(|item| (text(item, "action"), text(item, "cause"))).collect()
}

/// Creation has its cause, so has all else, and a tool is found by its name.
async fn every_event_says_why(world: &World, environment: &str, instance: &str, cause: &str) {
    let (events, _) = toolplane(world, &["events", "environment", &environment[..8], "-o", "json"]).await;
    let events: Value = serde_json::from_str(&events).expect("JSON");
    let events = events["items"].as_array().expect("items");
    let told = |reason: &str| {
        let event = events.iter().find(|event| event["reason"] == reason);
        event.unwrap_or_else(|| panic!("no {reason} among {events:?}"))["cause"].clone()
    };
    assert_eq!(
        (told("CreateAnnounced"), told("DropletCreated")),
        (cause.into(), cause.into())
    );
    for event in events {
        assert!(event["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{event}");
    }
    let (by_name, _) = toolplane(world, &["events", "Reasoning"]).await;
    assert!(by_name.contains(&format!("instance/{}", &instance[..8])), "{by_name}");
}

/// A plan tells what will be done and does nothing; then it is done, each effect with its cause; then nothing is left to do.
pub(crate) async fn a_plan_does_nothing_and_then_comes_true(mut world: World) {
    // 1. Nobody works yet. The plan says what would be done, and why, by id, by its beginning, and for all.
    let environment = world.rows.insert_environment().await;
    let (rows, changes) = (world.rows.every_row().await, world.changes());
    let cause = "spec.desired_state of generation 1".to_owned();
    let create = ["AnnounceIntent", "CreateDroplet"].map(|action| (action.to_owned(), cause.clone()));
    assert_eq!(planned(&world, &environment).await, create);
    assert_eq!(planned(&world, &environment[..8]).await, create);
    let (text, code) = toolplane(&world, &["plan", "--detailed-exitcode"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains(&environment) && text.contains(&format!("because: {cause}")),
        "{text}"
    );
    let (described, _) = toolplane(&world, &["describe", "environment", &environment[..8]]).await;
    assert!(
        described.contains("a replica of `toolplane serve`: nobody works on shard"),
        "{described}"
    );

    // 2. Nothing was done: neither a row nor anything at DigitalOcean is another than before.
    assert_eq!(world.rows.every_row().await, rows);
    assert_eq!(world.changes(), changes);

    // 3. It comes true, and the events say why.
    world.start().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_instance(&instance, "running").await;
    world.rows.until_conditions_hold(&environment, &["Ready", "Reconciled"]).await;
    every_event_says_why(&world, &environment, &instance, &cause).await;

    // 4. It is as it should be, once its firewall is in force: it waits for nothing, and nothing would be done.
    world
        .rows
        .until_conditions_hold(&environment, &["Ready", "Reconciled", "FirewallReady"])
        .await;
    let (described, _) = toolplane(&world, &["describe", "environment", &environment]).await;
    for part in [
        "Specification:    generation 1",
        "Waits for:        nothing",
        "Reasoning",
        "DropletCreated",
        "Worked on by:",
    ] {
        assert!(described.contains(part), "{part:?} is not in\n{described}");
    }
    let (described, _) = toolplane(&world, &["describe", "instance", "Reasoning"]).await;
    assert!(described.contains("Waits for:        nothing"), "{described}");
    let (text, code) = toolplane(&world, &["plan", "--detailed-exitcode"]).await;
    assert_eq!(code, Some(0), "{text}");
}
