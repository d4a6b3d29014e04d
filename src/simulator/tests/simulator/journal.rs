//! What the journal tells, and that it stays small.

use crate::bed::{Bed, plain};
use digitalocean::{DropletAction, FirewallSpec, InboundRule, Peers, Ports, Protocol, Resource};
use serde_json::{Value, json};
use simulator::{DropletSeed, Fault, FaultRule, Touched, What};

const OURS: &str = "toolplane:installation:ours";

fn is_ours(touched: &Touched) -> bool {
    touched.has_tag(OURS)
}

#[tokio::test]
async fn the_journal_tells_of_requests_twins_and_destruction() {
    let bed = Bed::new().await;
    let tag = "toolplane:environment:6f1c2f9e";
    let mut create = plain("one", &["toolplane", tag]);
    create.user_data = Some("#cloud-config secret".into());
    let one = bed.active(&create).await.id;
    let two = bed.active(&create).await.id;
    assert_eq!(
        bed.ask("POST", &format!("/simulator/droplets/{one}/destroy"), Value::Null)
            .await
            .status,
        204
    );
    assert!(bed.client.droplet_get(one).await.unwrap_err().is_not_found());
    let journal = bed.get("/simulator/journal").await;
    let entries = journal["entries"].as_array().unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["request", "twins", "request", "destroyed"]);
    assert_eq!(entries[0]["body"]["user_data"], "20 bytes", "user data is not kept");
    assert_eq!(entries[1]["tag"], tag);
    assert_eq!(entries[1]["droplets"], json!([one, two]));
    assert!(journal["counts"]["reads"]["GET /v2/droplets/{id}"].as_u64().unwrap() > 0);
    assert_eq!(journal["counts"]["changes"]["POST /v2/droplets"], 2);
    assert_eq!(journal["counts"]["twins"], 1);
    assert_eq!(
        bed.get("/simulator/journal?since=3").await["entries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        bed.ask("POST", "/simulator/droplets/1/destroy", Value::Null).await.status,
        404
    );
}

#[tokio::test]
async fn changes_and_twins_can_be_asked_for() {
    let bed = Bed::new().await;
    let tag = "toolplane:environment:6f1c2f9e";
    let one = bed.active(&plain("one", &[tag])).await.id;
    let since = bed.simulator.journal_next();
    assert!(bed.simulator.changes(since).is_empty(), "reads are no changes");
    assert!(bed.simulator.twins(0).is_empty());
    let two = bed.active(&plain("two", &[])).await.id;
    bed.client.tag_resources_add(tag, &[Resource::droplet(two)]).await.unwrap();
    assert_eq!(bed.simulator.changes(since).len(), 2);
    let twins = bed.simulator.twins(since);
    assert!(
        matches!(&twins[0].what, What::Twins { droplets, .. } if *droplets == [one, two]),
        "{twins:?}"
    );
}

#[tokio::test]
async fn whatever_speaks_of_a_foreign_resource_is_found() {
    let bed = Bed::new().await;
    let ours = bed.active(&plain("ours", &[OURS])).await.id;
    let foreign = bed.active(&plain("foreign", &["else"])).await.id;
    bed.client.droplet_action(ours, &DropletAction::Reboot).await.unwrap();
    let rule = InboundRule {
        protocol: Protocol::Tcp,
        ports: Ports::One(22),
        sources: Peers {
            addresses: vec!["0.0.0.0/0".to_owned()],
            ..Peers::default()
        },
    };
    let spec = |name: &str, droplet_ids: &[u64], tags: &[&str]| FirewallSpec {
        name: name.to_owned(),
        inbound_rules: vec![rule.clone()],
        droplet_ids: droplet_ids.to_vec(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..FirewallSpec::default()
    };
    bed.client.firewall_create(&spec("fw", &[ours], &[OURS])).await.unwrap();
    assert!(bed.simulator.foreign(0, is_ours).is_empty(), "all of that was ours");

    let since = bed.simulator.journal_next();
    let firewall = bed.client.firewall_create(&spec("named", &[foreign], &[])).await.unwrap().id;
    bed.client.firewall_create(&spec("tagged", &[], &["else"])).await.unwrap();
    bed.client.firewall_delete(&firewall).await.unwrap();
    bed.client
        .tag_resources_add(OURS, &[Resource::droplet(foreign)])
        .await
        .unwrap();
    bed.client
        .tag_resources_remove(OURS, &[Resource::droplet(foreign)])
        .await
        .unwrap();
    let project = bed.client.project_default().await.unwrap().id;
    bed.client
        .project_resources_assign(&project, &[format!("do:droplet:{foreign}")])
        .await
        .unwrap();
    bed.client.tag_delete("else").await.unwrap();
    bed.ask("DELETE", "/v2/droplets?tag_name=else", Value::Null).await;
    bed.client.droplet_delete(foreign).await.unwrap();
    let found: Vec<String> = bed
        .simulator
        .foreign(since, is_ours)
        .into_iter()
        .map(|entry| match entry.what {
            What::Request { method, path, .. } => format!("{method} {path}"),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "POST /v2/firewalls".to_owned(),
        "POST /v2/firewalls".to_owned(),
        format!("DELETE /v2/firewalls/{firewall}"),
        format!("POST /v2/tags/{OURS}/resources"),
        format!("POST /v2/projects/{project}/resources"),
        "DELETE /v2/tags/else".to_owned(),
        format!("DELETE /v2/droplets/{foreign}"),
    ];
    assert_eq!(
        found, expected,
        "while it carried our tag, it was ours, and an unknown tag touches nothing"
    );
}

#[tokio::test]
async fn the_journal_and_the_actions_stay_small_and_say_what_they_dropped() {
    let bed = Bed::with(|config| {
        config.settings.journal_kept = 5;
        config.settings.actions_kept = 3;
    })
    .await;
    let id = bed.simulator.seed_droplets(1, |_| DropletSeed::new("one", ["t"])).unwrap()[0];
    let mut first = None;
    for number in 0..8 {
        let name = format!("n-{number}");
        let action = bed
            .client
            .droplet_action(id, &DropletAction::Rename { name: name.clone() })
            .await
            .unwrap();
        first.get_or_insert(action.id);
        bed.until("the rename", async || {
            let droplet = bed.client.droplet_get(id).await.unwrap();
            (droplet.name == name && !droplet.locked).then_some(())
        })
        .await;
    }
    let counts = bed.simulator.counts();
    assert_eq!((counts.entries_dropped, counts.actions_dropped), (3, 5));
    let kept: Vec<u64> = bed.simulator.journal(0).iter().map(|entry| entry.sequence).collect();
    assert_eq!(kept, [3, 4, 5, 6, 7], "the latest, under their own numbers");
    assert_eq!(
        counts.changes["POST /v2/droplets/{id}/actions"], 8,
        "counts are of everything"
    );
    assert!(bed.client.action_get(first.unwrap()).await.unwrap_err().is_not_found());
    assert_eq!(bed.get(&format!("/v2/droplets/{id}/actions")).await["meta"]["total"], 3);
}

#[tokio::test]
async fn a_request_that_never_reached_the_api_is_written_down_all_the_same() {
    let bed = Bed::new().await;
    bed.simulator.fault(FaultRule::next("POST", "/v2/tags", Fault::DropBefore));
    bed.client.tag_create("x").await.unwrap_err();
    let entry = bed.simulator.changes(0).pop().unwrap();
    let What::Request { body, status, .. } = entry.what else {
        panic!("a request")
    };
    assert_eq!((body, status), (json!({"name": "x"}), None));
}
