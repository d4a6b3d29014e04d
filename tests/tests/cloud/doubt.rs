//! Lists that are not believed.

use crate::behind_our_back::of_droplets;
use e2e::{Rehearsal, eventually, rehearsal::condition};
use serde_json::Value;
use simulator::{Fault, FaultRule, PageFlaw};

const ENVIRONMENTS: usize = 4;

/// Every list of droplets is empty, and one droplet really is gone. Nothing follows from either; rows, events and the plan say so.
/// When the lists are whole again, what is gone is replaced, and nothing else.
pub(crate) async fn an_empty_list_stops_what_would_follow_from_it(mut rehearsal: Rehearsal) {
    rehearsal.start().await;
    let mut environments = Vec::new();
    for _ in 0..ENVIRONMENTS {
        environments.push(rehearsal.rows.insert_environment().await);
    }
    for environment in &environments {
        rehearsal.until_ready(environment).await;
    }
    let gone = rehearsal.droplet(&environments[0]).await;

    // 1. The lists lie.
    let empty = Fault::Page {
        flaw: PageFlaw::EmptyList,
    };
    rehearsal
        .simulator
        .fault(FaultRule::new(empty).on("GET", "/v2/droplets").always());
    // Before, the droplet's environment may ask for it by id, and would rightly replace it.
    until_lists_are_doubted(&rehearsal).await;
    rehearsal.simulator.destroy(gone).await;
    let since = rehearsal.simulator.journal_next();
    the_doubt_is_told(&rehearsal, &environments[0]).await;
    assert_eq!(of_droplets(&rehearsal.simulator.changes(since)), Vec::<String>::new());

    // 2. They are whole again.
    rehearsal.simulator.calm();
    let replaced = |row: &Value| row["do_droplet_id"].as_u64().is_some_and(|droplet| droplet != gone);
    rehearsal
        .rows
        .until_environment_is(&environments[0], "on another droplet", replaced)
        .await;
    for environment in &environments {
        rehearsal.until_ready(environment).await;
        let row = rehearsal.rows.environment(environment).await;
        assert_ne!(condition(&row, "FleetTrusted")["status"], "False", "{row}");
    }
    eventually("one droplet for each", || async {
        let droplets = rehearsal.simulator.droplets();
        if droplets.len() == ENVIRONMENTS {
            Ok(())
        } else {
            Err(droplets)
        }
    })
    .await;
    assert_eq!(rehearsal.simulator.twins(0), []);
}

async fn until_lists_are_doubted(rehearsal: &Rehearsal) {
    eventually("the lists of droplets to be doubted", || async {
        let query = "select coalesce(withheld_reason, 'believed') from fleet_sweeps where kind = 'droplets'";
        let verdict = rehearsal.rows.sql.must(query).await;
        if verdict.contains("is empty") { Ok(()) } else { Err(verdict) }
    })
    .await;
}

/// By the row of whose droplet is gone, by its events, and by the commands.
async fn the_doubt_is_told(rehearsal: &Rehearsal, environment: &str) {
    let withheld = |row: &Value| condition(row, "FleetTrusted")["status"] == "False";
    rehearsal
        .rows
        .until_environment_is(environment, "told that the fleet is not believed", withheld)
        .await;
    rehearsal.until_told(environment, "FleetNotTrusted").await;
    let (described, _) = rehearsal.toolplane(&["describe", "environment", environment]).await;
    assert!(described.contains("is empty, and 4 are known (FleetTrusted)"), "{described}");
    let (text, code) = rehearsal.toolplane(&["plan", "--detailed-exitcode"]).await;
    assert!(
        text.starts_with("withheld\n") && text.contains("is empty, and 4 are known"),
        "{text}"
    );
    assert!(!text.contains("CreateDroplet") && !text.contains("DeleteDroplet"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}
