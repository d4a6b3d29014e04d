//! Launches that do not get through in time. The deadlines are short here.

use crate::behind_our_back::of_droplets;
use e2e::{Rehearsal, eventually, rehearsal::condition};
use jiff::SignedDuration;
use serde_json::Value;
use simulator::{Fault, FaultRule};

/// A first enrolment is taken for twice as long.
const LAUNCH: SignedDuration = SignedDuration::from_secs(2);

/// Waits until the row says that the launch takes too long, for this reason and in these words.
async fn until_late(rehearsal: &Rehearsal, environment: &str, reason: &str, words: &str) {
    let says = |row: &Value| row["error_message"].as_str().is_some_and(|said| said.contains(words));
    let late = |row: &Value| row["status"] == "error_creation" && condition(row, "Ready")["reason"] == reason && says(row);
    rehearsal.rows.until_environment_is(environment, reason, late).await;
}

/// A droplet that has no address for long, and then one whose agent does not come: the row says what is awaited, nothing is
/// destroyed, and all is well when it comes.
pub(crate) async fn a_launch_that_takes_too_long_destroys_nothing_and_heals_by_itself(mut rehearsal: Rehearsal) {
    rehearsal.config.environment.launch_deadline = LAUNCH;
    rehearsal.boot_agents(false);
    let addressless = Fault::Addressless { ms: 5_000 };
    rehearsal
        .simulator
        .fault(FaultRule::next("POST", "/v2/droplets", addressless));
    rehearsal.start().await;
    let environment = rehearsal.rows.insert_environment().await;

    // 1. No address. However late its agent comes, it is to be taken.
    rehearsal.until_told(&environment, "CreateAnnounced").await;
    let open =
        "update provisioning_intents set enrolment_expires_at = clock_timestamp() + interval '1 hour' where environment_id = ";
    rehearsal.rows.sql.must(&format!("{open} '{environment}'")).await;
    until_late(&rehearsal, &environment, "LaunchDeadlineExceeded", "public address").await;
    let since = rehearsal.simulator.journal_next();
    let made = rehearsal.droplets(&environment);

    // 2. An address, and no agent.
    until_late(&rehearsal, &environment, "EnrolmentDeadlineExceeded", "public_url").await;
    let (listed, _) = rehearsal
        .toolplane(&["get", "environments", &environment, "-o", "wide"])
        .await;
    assert!(listed.contains("error_creation") && listed.contains("public_url"), "{listed}");
    let (described, _) = rehearsal.toolplane(&["describe", "environment", &environment]).await;
    assert!(described.contains("its agent has not enrolled in time"), "{described}");

    // 3. It comes.
    rehearsal.boot_agents(true);
    rehearsal.until_ready(&environment).await;
    let row = rehearsal.rows.environment(&environment).await;
    assert!(row["error_message"].is_null(), "{row}");
    assert_eq!(row["do_droplet_id"].as_u64(), Some(made[0].id));
    assert_eq!(of_droplets(&rehearsal.simulator.changes(since)), Vec::<String>::new());
}

/// An agent that never enrolled and cannot any more: another droplet takes the place of its own, never beside it. It enrols, and
/// is kept.
pub(crate) async fn a_droplet_whose_agent_can_never_enrol_is_replaced(mut rehearsal: Rehearsal) {
    rehearsal.config.environment.launch_deadline = LAUNCH;
    rehearsal.config.environment.replace_after = LAUNCH;
    rehearsal.boot_agents(false);
    rehearsal.start().await;
    let environment = rehearsal.rows.insert_environment().await;

    // 1. It comes too late.
    let first = eventually("a droplet", || async {
        rehearsal
            .droplets(&environment)
            .first()
            .map(|droplet| droplet.id)
            .ok_or("none")
    })
    .await;
    rehearsal.until_told(&environment, "DropletReplaced").await;
    eventually("another droplet alone", || async {
        let droplets = rehearsal.droplets(&environment);
        let replaced = droplets.len() == 1 && droplets[0].id != first;
        if replaced { Ok(()) } else { Err(droplets) }
    })
    .await;
    let events = rehearsal.toolplane_json(&["events", "environment", &environment]).await;
    let deleted = |event: &&Value| event["reason"] == "DropletDeleted";
    let deleted = events["items"].as_array().unwrap().iter().find(deleted).unwrap().clone();
    assert!(deleted["cause"].as_str().unwrap().contains("never enrolled"), "{deleted}");

    // 2. The new one's comes.
    rehearsal.boot_agents(true);
    rehearsal.until_ready(&environment).await;
    assert_eq!(rehearsal.simulator.droplets().len(), 1);
    assert_eq!(rehearsal.simulator.twins(0), []);
}
