//! Droplets and firewalls that name us, and that nothing on record knows.

use digitalocean::{DropletCreate, FirewallSpec, ImageRef, OutboundRule, Peers, Ports, Protocol};
use e2e::{Rehearsal, eventually};
use jiff::SignedDuration;
use model::{EnvironmentId, InstallationId, tags};
use serde_json::Value;
use std::time::Duration;

/// Makes a droplet as nobody on record did; gives its id.
async fn droplet(rehearsal: &Rehearsal, name: &str, tags: Vec<String>) -> u64 {
    let create = DropletCreate {
        name: name.to_owned(),
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-22-04-x64".to_owned()),
        tags,
        user_data: None,
        vpc_uuid: None,
        ssh_keys: Vec::new(),
        monitoring: false,
        ipv6: false,
    };
    rehearsal.console.droplet_create(&create).await.unwrap().droplet.id
}

fn named_for(environment: EnvironmentId, installation: &InstallationId) -> Vec<String> {
    vec![
        tags::TOOLPLANE.to_owned(),
        tags::installation(installation),
        tags::environment(environment),
    ]
}

/// Leaves a droplet and a firewall of an environment that is not on record.
pub(crate) async fn leave(rehearsal: &Rehearsal, environment: EnvironmentId) {
    let ours = rehearsal.installation().clone();
    droplet(rehearsal, "lost", named_for(environment, &ours)).await;
    firewall(rehearsal, fleet::names::environment(&ours, environment)).await;
}

async fn firewall(rehearsal: &Rehearsal, name: String) {
    let spec = FirewallSpec {
        name,
        inbound_rules: Vec::new(),
        outbound_rules: vec![OutboundRule {
            protocol: Protocol::Tcp,
            ports: Ports::All,
            destinations: Peers {
                addresses: vec!["0.0.0.0/0".to_owned()],
                ..Peers::default()
            },
        }],
        droplet_ids: Vec::new(),
        tags: Vec::new(),
    };
    rehearsal.console.firewall_create(&spec).await.unwrap();
}

/// What a plan says would be done, as action and object.
fn items(plan: &Value) -> Vec<(String, String)> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    let items = plan["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| (text(item, "action"), text(item, "object")))
        .collect()
}

/// Waits until a sweep has stored so many droplets.
async fn until_swept(rehearsal: &Rehearsal, droplets: usize) {
    eventually("a sweep", || async move {
        let query = "select count(*) from fleet_resources where kind = 'droplets' and standing = 'seen'";
        let swept = rehearsal.rows.sql.must(query).await;
        if swept == droplets.to_string() { Ok(()) } else { Err(swept) }
    })
    .await;
}

/// A plan names the orphans and leaves what is foreign out; it does nothing, and then a replica does what it said.
pub(crate) async fn a_plan_tells_of_orphans_and_then_they_go(mut rehearsal: Rehearsal) {
    rehearsal.config.environment.lag_window = SignedDuration::from_secs(3);
    // 1. Somebody else's droplet, another installation's, an orphan, and an orphan of a firewall.
    let (lost, other) = (EnvironmentId::random(), "another".parse().unwrap());
    let ours = rehearsal.installation().clone();
    let foreign = [
        droplet(&rehearsal, "somebody-elses", Vec::new()).await,
        droplet(&rehearsal, "theirs", named_for(EnvironmentId::random(), &other)).await,
    ];
    let orphan = droplet(&rehearsal, "lost", named_for(lost, &ours)).await;
    firewall(&rehearsal, fleet::names::environment(&ours, lost)).await;
    firewall(&rehearsal, "somebody-elses".to_owned()).await;

    // 2. It has only just come into sight: its record may be under way.
    let plan = rehearsal.toolplane_json(&["plan"]).await;
    let mut deletes = items(&plan);
    deletes.retain(|(action, _)| action.starts_with("Delete"));
    assert_eq!(deletes.len(), 1, "{plan}");
    assert_eq!(deletes[0].0, "DeleteFirewall", "{plan}");
    let (text, code) = rehearsal.toolplane(&["plan", &lost.to_string()]).await;
    assert!(
        text.contains("which is not on record") && text.contains("waits for: "),
        "{text}"
    );
    assert_eq!(code, Some(0), "{text}");

    // 3. A replica sees it, and ends before its time has come. From then on the plan says that it goes, and does nothing.
    rehearsal.start().await;
    until_swept(&rehearsal, 1).await;
    rehearsal.stop().await;
    let planned = eventually("the plan to say that the orphan goes", || async {
        let plan = rehearsal.toolplane_json(&["plan", &lost.to_string()]).await;
        let found = items(&plan)
            .into_iter()
            .find(|(_, object)| *object == format!("droplet {orphan}"));
        found.ok_or(plan)
    })
    .await;
    assert_eq!(planned.0, "DeleteDroplet");
    nothing_is_done_by_planning(&rehearsal, orphan, &foreign).await;

    // 4. It comes true, and nothing else does.
    rehearsal.start().await;
    rehearsal.until_told(&lost.to_string(), "OrphanDeleted").await;
    eventually("only what is foreign to be left", || async {
        let mut left: Vec<u64> = rehearsal.simulator.droplets().iter().map(|droplet| droplet.id).collect();
        left.sort_unstable();
        if left == foreign { Ok(()) } else { Err(left) }
    })
    .await;
    eventually("nothing to be left to do", || async {
        let (text, code) = rehearsal.toolplane(&["plan", "--detailed-exitcode"]).await;
        if code == Some(0) { Ok(()) } else { Err(text) }
    })
    .await;
    let firewalls = rehearsal.console.firewall_list().await.unwrap();
    assert!(firewalls.iter().any(|firewall| firewall.spec.name == "somebody-elses"));
}

/// A plan of everything names the orphan, leaves what is foreign out, and changes nothing anywhere.
async fn nothing_is_done_by_planning(rehearsal: &Rehearsal, orphan: u64, foreign: &[u64]) {
    let (rows, since) = (rehearsal.rows.every_row().await, rehearsal.simulator.journal_next());
    let (text, code) = rehearsal.toolplane(&["plan", "--detailed-exitcode"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&format!("droplet {orphan}")), "{text}");
    for droplet in foreign {
        assert!(!text.contains(&droplet.to_string()), "{droplet} is none of ours:\n{text}");
    }
    assert_eq!(rehearsal.rows.every_row().await, rows);
    assert_eq!(rehearsal.simulator.changes(since), []);
}

/// Four orphans, and nothing else: none is destroyed, and the plan says why.
pub(crate) async fn so_many_orphans_are_rather_the_wrong_database(mut rehearsal: Rehearsal) {
    let ours = rehearsal.installation().clone();
    for _ in 0..4 {
        droplet(&rehearsal, "lost", named_for(EnvironmentId::random(), &ours)).await;
    }
    rehearsal.start().await;
    until_swept(&rehearsal, 4).await;
    // Longer than the lag window, and many sweeps.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (text, code) = rehearsal.toolplane(&["plan"]).await;
    assert!(text.contains("is it the right one?"), "{text}");
    assert!(!text.contains("DeleteDroplet"), "{text}");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(rehearsal.simulator.droplets().len(), 4);
}
