//! What DigitalOcean refuses.

use e2e::{Rehearsal, eventually, rehearsal::condition};
use jiff::SignedDuration;
use serde_json::Value;
use simulator::{Fault, FaultRule};

/// Region, size or image that DigitalOcean does not have: the row names the column, and the next value is tried at once.
pub(crate) async fn a_value_that_is_refused_is_named_and_heals_with_the_row(mut rehearsal: Rehearsal) {
    // Only a change of the row tries again.
    rehearsal.config.environment.refused_retry = SignedDuration::from_mins(10);
    rehearsal.start().await;
    let wrong = [
        ("region_slug", "atlantis1", "nyc3"),
        ("size_slug", "s-100vcpu-1gb", "s-1vcpu-1gb"),
        ("image_slug", "ubuntu-1-04-x64", "ubuntu-22-04-x64"),
    ];
    let set = |environment: &str, column: &str, value: &str| {
        format!("update account_tool_environments set {column} = '{value}' where id = '{environment}'")
    };
    let mut environments = Vec::new();
    for (column, value, _) in wrong {
        environments.push(rehearsal.rows.insert_environment_with(&[(column, value)]).await);
    }
    for (environment, (column, _, right)) in environments.iter().zip(wrong) {
        rehearsal.rows.until_environment(environment, "error_creation").await;
        let row = rehearsal.rows.environment(environment).await;
        let message = row["error_message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{column}: ")), "{message}");
        let (listed, _) = rehearsal.toolplane(&["get", "environments", environment, "-o", "wide"]).await;
        assert!(listed.contains("error_creation") && listed.contains(column), "{listed}");
        rehearsal.rows.sql.must(&set(environment, column, right)).await;
    }
    for environment in &environments {
        rehearsal.until_ready(environment).await;
        let row = rehearsal.rows.environment(environment).await;
        assert!(row["error_message"].is_null(), "{row}");
    }
    assert_eq!(rehearsal.simulator.droplets().len(), wrong.len());
}

/// The account's droplet limit is reached: the row says so, and it is tried until there is room, without any change of the row. A
/// "Please try again" is no error at all.
pub(crate) async fn a_full_account_heals_by_itself(mut rehearsal: Rehearsal) {
    rehearsal
        .simulator
        .fault(FaultRule::next("POST", "/v2/droplets", Fault::TryAgain));
    rehearsal.start().await;
    let first = rehearsal.rows.insert_environment().await;
    rehearsal.until_ready(&first).await;
    let events = rehearsal.rows.events(&first).await;
    assert!(!events.contains("error_creation"), "{events}");

    rehearsal.simulator.configure(|settings| settings.droplet_limit = 1);
    let second = rehearsal.rows.insert_environment().await;
    rehearsal.rows.until_environment(&second, "error_creation").await;
    let row = rehearsal.rows.environment(&second).await;
    assert!(row["error_message"].as_str().unwrap().contains("droplet limit"), "{row}");
    rehearsal.simulator.configure(|settings| settings.droplet_limit = 2);
    rehearsal.until_ready(&second).await;
    let healed = rehearsal.rows.environment(&second).await;
    assert_eq!(healed["generation"], row["generation"]);
    eventually("one droplet for each", || async {
        let droplets = rehearsal.simulator.droplets();
        if droplets.len() == 2 { Ok(()) } else { Err(droplets) }
    })
    .await;
}

/// Somebody deletes the base firewall, and DigitalOcean refuses another: every environment says why, the installation's events
/// too, and it is made when it can be.
pub(crate) async fn a_refused_base_firewall_is_told_and_heals(mut rehearsal: Rehearsal) {
    rehearsal.start().await;
    let environment = rehearsal.rows.insert_environment().await;
    rehearsal.until_ready(&environment).await;
    let base = fleet::names::base(rehearsal.installation());
    let refusal = Fault::Refuse {
        status: 422,
        id: "unprocessable_entity".to_owned(),
        message: "source address 10.0.0.300 is not valid".to_owned(),
    };
    rehearsal
        .simulator
        .fault(FaultRule::new(refusal).on("POST", "/v2/firewalls").always());
    let firewalls = rehearsal.console.firewall_list().await.unwrap();
    let made = firewalls.iter().find(|firewall| firewall.spec.name == base).unwrap();
    rehearsal.console.firewall_delete(&made.id).await.unwrap();

    let refused = |row: &Value| {
        let ready = condition(row, "FirewallReady");
        let message = ready["message"].as_str().unwrap_or_default();
        ready["status"] == "False" && message.contains("base firewall is not there") && message.contains("10.0.0.300")
    };
    rehearsal
        .rows
        .until_environment_is(&environment, "told of the refusal", refused)
        .await;
    rehearsal.until_installation_told("10.0.0.300").await;

    rehearsal.simulator.calm();
    rehearsal.until_ready(&environment).await;
    eventually("the refusal to be forgotten", || async {
        let query = "select coalesce(failure, '') from fleet_sweeps where kind = 'firewalls'";
        let failure = rehearsal.rows.sql.must(query).await;
        if failure.is_empty() { Ok(()) } else { Err(failure) }
    })
    .await;
    let (listed, _) = rehearsal.toolplane(&["events"]).await;
    let told = |line: &str| line.contains(" installation ") && line.contains("the installation has no base firewall");
    assert!(listed.lines().any(told), "{listed}");
}
