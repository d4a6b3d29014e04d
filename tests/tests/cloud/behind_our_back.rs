//! What somebody with the account's console does, and what a droplet does by itself.

use digitalocean::{ActionStatus, DropletAction, DropletStatus, Resource};
use e2e::{Rehearsal, eventually, rehearsal::condition};
use jiff::SignedDuration;
use model::tags;
use serde_json::{Value, json};
use simulator::{Entry, What};

/// An environment with a tool that runs.
pub(crate) async fn running(rehearsal: &Rehearsal) -> (String, String) {
    let environment = rehearsal.rows.insert_environment().await;
    let instance = rehearsal.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    rehearsal.rows.until_instance(&instance, "running").await;
    rehearsal.until_ready(&environment).await;
    (environment, instance)
}

/// Does something to a droplet at the console, which refuses while another action is under way, and waits until it is done. What
/// it did may be undone by then.
pub(crate) async fn act(rehearsal: &Rehearsal, droplet: u64, action: DropletAction) {
    let taken = eventually("the console to take an action", || async {
        let answer = rehearsal.console.droplet_action(droplet, &action).await;
        answer.map_err(|error| error.to_string())
    })
    .await;
    eventually("the action to be done", || async {
        let action = rehearsal.console.action_get(taken.id).await.unwrap();
        if action.status == ActionStatus::Completed {
            Ok(())
        } else {
            Err(action)
        }
    })
    .await;
}

/// What was asked of `DigitalOcean` about droplets.
pub(crate) fn of_droplets(changes: &[Entry]) -> Vec<String> {
    let path = |entry: &Entry| match &entry.what {
        What::Request { path, .. } => path.starts_with("/v2/droplets").then(|| path.clone()),
        What::Twins { .. } | What::Destroyed { .. } | What::Vanished { .. } => None,
    };
    changes.iter().filter_map(path).collect()
}

/// Renamed, untagged, switched off, moved to another project: each is put right on the same droplet, and told with its cause.
pub(crate) async fn what_is_changed_is_put_back(mut rehearsal: Rehearsal) {
    let project = make_project(&rehearsal).await;
    rehearsal.config.project = Some("Agents".to_owned());
    rehearsal.start().await;
    let (environment, instance) = running(&rehearsal).await;
    let droplet = rehearsal.droplet(&environment).await;
    until_in_project(&rehearsal, &project, droplet).await;

    the_droplet_is_changed(&rehearsal, &environment, droplet).await;

    // Moves are seen seldom, and after each start.
    rehearsal.stop().await;
    let default = rehearsal.console.project_default().await.unwrap();
    let moved = [format!("do:droplet:{droplet}")];
    rehearsal.console.project_resources_assign(&default.id, &moved).await.unwrap();
    rehearsal.start().await;
    until_in_project(&rehearsal, &project, droplet).await;

    rehearsal.until_ready(&environment).await;
    rehearsal.rows.until_instance(&instance, "running").await;
    assert_eq!(rehearsal.droplet(&environment).await, droplet);
    assert_eq!(rehearsal.simulator.droplets().len(), 1);
    let events = rehearsal.toolplane_json(&["events", "environment", &environment]).await;
    let causes: Vec<&str> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["cause"].as_str())
        .collect();
    for cause in ["name", "tag", "off", "project"] {
        assert!(
            causes.iter().any(|told| told.contains(cause)),
            "{cause:?} is not among {causes:?}"
        );
    }
}

/// Another name, no tags, no power: each comes back.
async fn the_droplet_is_changed(rehearsal: &Rehearsal, environment: &str, droplet: u64) {
    let name = tags::droplet_name(environment.parse().unwrap());
    let rename = DropletAction::Rename {
        name: "mine-now".to_owned(),
    };
    act(rehearsal, droplet, rename).await;
    rehearsal
        .until_droplet_is(droplet, "called as before", |seen| seen.name == name)
        .await;

    for tag in [
        tags::installation(rehearsal.installation()),
        tags::environment(environment.parse().unwrap()),
    ] {
        let resource = [Resource::droplet(droplet)];
        rehearsal.console.tag_resources_remove(&tag, &resource).await.unwrap();
        rehearsal
            .until_droplet_is(droplet, "tagged again", |seen| seen.has_tag(&tag))
            .await;
    }

    act(rehearsal, droplet, DropletAction::PowerOff).await;
    rehearsal
        .until_droplet_is(droplet, "on again", |seen| seen.status == DropletStatus::Active)
        .await;
}

/// A project beside the default one; gives its id.
async fn make_project(rehearsal: &Rehearsal) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let project = json!({"name": "Agents", "purpose": "Service or API", "environment": "Production"});
    let request = client.post(rehearsal.simulator.base_url().join("/v2/projects").unwrap());
    let answer = request
        .bearer_auth(e2e::rehearsal::TOKEN)
        .json(&project)
        .send()
        .await
        .unwrap();
    let made: Value = answer.json().await.unwrap();
    made["project"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

async fn until_in_project(rehearsal: &Rehearsal, project: &str, droplet: u64) {
    eventually("the droplet to be in its project", || async {
        let members = rehearsal.console.project_resource_list(project).await.unwrap();
        let member = members.iter().any(|member| member.urn == format!("do:droplet:{droplet}"));
        if member { Ok(()) } else { Err(members) }
    })
    .await;
}

/// Somebody resized two droplets while nobody was there. One gets its own size again, with its tools; the other's disk grew, which
/// nothing can undo: the row says so, and it runs on as it is.
pub(crate) async fn what_somebody_resized_gets_its_size_again(mut rehearsal: Rehearsal) {
    rehearsal.start().await;
    let (resized, resized_tool) = running(&rehearsal).await;
    let (grown, grown_tool) = running(&rehearsal).await;
    let (smaller, larger) = (rehearsal.droplet(&resized).await, rehearsal.droplet(&grown).await);
    rehearsal.stop().await;
    for (droplet, disk) in [(smaller, false), (larger, true)] {
        let size = "s-2vcpu-2gb".to_owned();
        for action in [
            DropletAction::PowerOff,
            DropletAction::Resize { size, disk },
            DropletAction::PowerOn,
        ] {
            act(&rehearsal, droplet, action).await;
        }
    }
    rehearsal.start().await;

    // 1. Back, and told why.
    let own = |seen: &digitalocean::Droplet| seen.size_slug == "s-1vcpu-1gb" && seen.status == DropletStatus::Active;
    rehearsal.until_droplet_is(smaller, "of its own size, and on", own).await;
    rehearsal.until_ready(&resized).await;
    rehearsal.rows.until_instance(&resized_tool, "running").await;
    assert_eq!(rehearsal.droplet(&resized).await, smaller);
    let events = rehearsal.toolplane_json(&["events", "environment", &resized]).await;
    let cause = format!("droplet {smaller} is not of spec.size_slug of generation 1");
    let told = |event: &Value| event["cause"] == cause && event["reason"] == "DropletResizing";
    assert!(events["items"].as_array().unwrap().iter().any(told), "{events}");

    // 2. Left alone, and told why.
    let said = |row: &Value| condition(row, "Resized")["status"] == "False";
    rehearsal
        .rows
        .until_environment_is(&grown, "told that its size cannot be had", said)
        .await;
    let row = rehearsal.rows.environment(&grown).await;
    assert!(
        condition(&row, "Resized")["message"].as_str().unwrap().contains("disk"),
        "{row}"
    );
    rehearsal.rows.until_instance(&grown_tool, "running").await;
    assert_eq!(rehearsal.console.droplet_get(larger).await.unwrap().size_slug, "s-2vcpu-2gb");
    assert_eq!(rehearsal.simulator.droplets().len(), 2);
}

/// Paused, an environment is observed, and neither what somebody did nor what its user wants is acted upon. Then it all is.
pub(crate) async fn a_paused_environment_is_left_as_it_is(mut rehearsal: Rehearsal) {
    rehearsal.start().await;
    let (environment, instance) = running(&rehearsal).await;
    let droplet = rehearsal.droplet(&environment).await;
    let pause = |paused: bool| format!("update account_tool_environments set paused = {paused} where id = '{environment}'");
    rehearsal.rows.sql.must(&pause(true)).await;
    let reason = |row: &Value, expected: &str| condition(row, "Reconciled")["reason"] == expected;
    rehearsal
        .rows
        .until_environment_is(&environment, "paused", |row| reason(row, "Paused"))
        .await;

    // 1. It is switched off, and another size is wanted. Both are seen.
    act(&rehearsal, droplet, DropletAction::PowerOff).await;
    let size = "update account_tool_environments set size_slug = 's-2vcpu-2gb' where id = ";
    rehearsal.rows.sql.must(&format!("{size} '{environment}'")).await;
    let seen =
        |row: &Value| condition(row, "DropletReady")["status"] == "False" && row["observed_generation"] == row["generation"];
    rehearsal
        .rows
        .until_environment_is(&environment, "seen to be off", seen)
        .await;
    let since = rehearsal.simulator.journal_next();
    let (described, _) = rehearsal.toolplane(&["describe", "environment", &environment]).await;
    assert!(described.contains("spec.paused to be unset"), "{described}");
    let (text, code) = rehearsal.toolplane(&["plan", &environment, "--detailed-exitcode"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(rehearsal.simulator.changes(since), []);

    // 2. It goes on.
    rehearsal.rows.sql.must(&pause(false)).await;
    rehearsal
        .until_droplet_is(droplet, "of the new size, and on", |seen| {
            seen.size_slug == "s-2vcpu-2gb" && seen.status == DropletStatus::Active
        })
        .await;
    rehearsal.until_ready(&environment).await;
    rehearsal.rows.until_instance(&instance, "running").await;
    assert_eq!(rehearsal.droplet(&environment).await, droplet);
}

/// No heartbeat comes: the row says so, and nothing is done about it. They come again, and all is well.
pub(crate) async fn a_silent_agent_costs_nothing(mut rehearsal: Rehearsal) {
    rehearsal.config.environment.heartbeat = SignedDuration::from_secs(1);
    rehearsal.start().await;
    let (environment, _) = running(&rehearsal).await;
    let droplet = rehearsal.droplet(&environment).await;
    let since = rehearsal.simulator.journal_next();
    let agent = rehearsal.machines.get(droplet).unwrap();
    agent.silence(true);
    rehearsal.rows.until_environment(&environment, "unresponsive").await;
    let (described, _) = rehearsal.toolplane(&["describe", "environment", &environment]).await;
    assert!(described.contains("with the agent's next heartbeat"), "{described}");
    assert_eq!(agent.running(), 1, "its tool runs on");
    agent.silence(false);
    rehearsal.until_ready(&environment).await;
    assert_eq!(rehearsal.simulator.changes(since), []);
    assert_eq!(rehearsal.droplet(&environment).await, droplet);
}
