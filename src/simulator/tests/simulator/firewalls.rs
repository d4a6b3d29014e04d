//! `/v2/firewalls`: what they apply to, when they are in force, and their limits.

use crate::bed::{Bed, plain};
use digitalocean::{
    Error, Firewall, FirewallRules, FirewallSpec, FirewallStatus, InboundRule, OutboundRule, Peers, Ports, Protocol, Refusal,
    Resource,
};
use serde_json::{Value, json};

fn inbound(port: u16) -> InboundRule {
    InboundRule {
        protocol: Protocol::Tcp,
        ports: Ports::One(port),
        sources: anywhere(),
    }
}

fn anywhere() -> Peers {
    Peers {
        addresses: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        ..Peers::default()
    }
}

fn spec(name: &str, tags: &[&str]) -> FirewallSpec {
    FirewallSpec {
        name: name.to_owned(),
        inbound_rules: vec![inbound(22)],
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..FirewallSpec::default()
    }
}

async fn in_force(bed: &Bed, id: &str) -> Firewall {
    bed.until("in force", async || {
        let firewall = bed.client.firewall_get(id).await.unwrap();
        (firewall.status == FirewallStatus::Succeeded).then_some(firewall)
    })
    .await
}

#[tokio::test]
async fn a_firewall_follows_tags_and_is_in_force_after_a_while() {
    let bed = Bed::new().await;
    let droplet = bed.active(&plain("one", &["web"])).await.id;
    let firewall = bed.client.firewall_create(&spec("fw", &["web"])).await.unwrap();
    assert_eq!(firewall.status, FirewallStatus::Waiting);
    assert_eq!(
        (firewall.pending_changes[0].droplet_id, firewall.pending_changes[0].removing),
        (droplet, false)
    );
    let firewall = in_force(&bed, &firewall.id).await;
    assert!(firewall.pending_changes.is_empty());
    assert_eq!(
        bed.client.droplet_firewall_list(droplet).await.unwrap(),
        std::slice::from_ref(&firewall)
    );

    bed.simulator.configure(|settings| settings.firewall_ms = 60_000);
    bed.client
        .tag_resources_remove("web", &[Resource::droplet(droplet)])
        .await
        .unwrap();
    let changing = bed.client.firewall_get(&firewall.id).await.unwrap();
    assert!(changing.pending_changes[0].removing, "{changing:?}");
    assert!(bed.client.droplet_firewall_list(droplet).await.unwrap().is_empty());
    let tagged = bed.active(&plain("two", &["web"])).await.id;
    let changing = bed.client.firewall_get(&firewall.id).await.unwrap();
    assert!(
        changing
            .pending_changes
            .iter()
            .any(|change| change.droplet_id == tagged && !change.removing)
    );
}

#[tokio::test]
async fn every_part_can_be_changed() {
    let bed = Bed::new().await;
    let droplet = bed.active(&plain("one", &["a"])).await.id;
    let client = &bed.client;
    let id = client.firewall_create(&spec("fw", &[])).await.unwrap().id;
    client.firewall_droplets_add(&id, &[droplet]).await.unwrap();
    client.firewall_tags_add(&id, &["a".to_owned()]).await.unwrap();
    let more = FirewallRules {
        inbound_rules: vec![inbound(443)],
        outbound_rules: vec![OutboundRule {
            protocol: Protocol::Udp,
            ports: Ports::All,
            destinations: anywhere(),
        }],
    };
    client.firewall_rules_add(&id, &more).await.unwrap();
    let changed = client.firewall_get(&id).await.unwrap().spec;
    assert_eq!(
        (changed.droplet_ids.as_slice(), changed.tags.as_slice()),
        ([droplet].as_slice(), ["a".to_owned()].as_slice())
    );
    assert_eq!(changed.inbound_rules, [inbound(22), inbound(443)]);
    assert_eq!(
        changed.outbound_rules, more.outbound_rules,
        "all ports come back as all ports"
    );
    client.firewall_rules_remove(&id, &more).await.unwrap();
    client.firewall_droplets_remove(&id, &[droplet]).await.unwrap();
    client.firewall_tags_remove(&id, &["a".to_owned()]).await.unwrap();
    assert_eq!(client.firewall_get(&id).await.unwrap().spec, spec("fw", &[]));

    let updated = client.firewall_update(&id, &spec("other", &["a"])).await.unwrap();
    assert_eq!(updated.spec, spec("other", &["a"]));
    client.firewall_update(&id, &spec("other", &[])).await.unwrap();
    assert!(
        client.firewall_get(&id).await.unwrap().spec.tags.is_empty(),
        "an update replaces everything"
    );
    client.tag_delete("a").await.unwrap();
    client.firewall_delete(&id).await.unwrap();
    assert!(client.firewall_delete(&id).await.unwrap_err().is_not_found());
    assert!(client.firewall_list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_limits_are_the_documented_ones() {
    let bed = Bed::new().await;
    let mut droplets = Vec::new();
    for number in 0..11 {
        droplets.push(
            bed.client
                .droplet_create(&plain(&format!("d-{number}"), &[]))
                .await
                .unwrap()
                .droplet
                .id,
        );
        bed.client.tag_create(&format!("t-{number}")).await.unwrap();
    }
    let tags = |count: usize| (0..count).map(|number| format!("t-{number}")).collect::<Vec<_>>();
    let rules = |count: u16| (1..=count).map(inbound).collect::<Vec<_>>();
    let with = |name: &str, droplets: &[u64], tags: Vec<String>, rules: Vec<InboundRule>| FirewallSpec {
        name: name.to_owned(),
        droplet_ids: droplets.to_vec(),
        tags,
        inbound_rules: rules,
        outbound_rules: Vec::new(),
    };
    let full = with("full", &droplets[..10], tags(5), rules(50));
    bed.client.firewall_create(&full).await.unwrap();
    for over in [
        with("droplets", &droplets, tags(0), rules(1)),
        with("tags", &[], tags(6), rules(1)),
        with("rules", &[], tags(0), rules(51)),
        with("none", &[], tags(0), rules(0)),
        with("unknown-tag", &[], vec!["nobody".to_owned()], rules(1)),
        with("unknown-droplet", &[1], tags(0), rules(1)),
    ] {
        let error = bed.client.firewall_create(&over).await.unwrap_err();
        assert!(
            matches!(error, Error::Refused { status: 422, .. }),
            "{}: {error:?}",
            over.name
        );
    }
    let error = bed.client.firewall_create(&spec("full", &[])).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                status: 409,
                refusal: Refusal::Duplicate,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(bed.client.firewall_list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn rules_are_checked_and_normalised() {
    let bed = Bed::new().await;
    let create = |name: &str, rule: Value| {
        let body = json!({"name": name, "inbound_rules": [rule], "outbound_rules": null, "droplet_ids": null, "tags": null});
        bed.ask("POST", "/v2/firewalls", body)
    };
    let from = json!({"addresses": ["1.2.3.4", "18.0.0.0/8"]});
    let answer = create("icmp", json!({"protocol": "icmp", "sources": from})).await;
    assert_eq!(
        (answer.status, &answer.body["firewall"]["inbound_rules"][0]["ports"]),
        (202, &json!("0"))
    );
    let answer = create("all", json!({"protocol": "tcp", "ports": "all", "sources": from})).await;
    assert_eq!(answer.body["firewall"]["inbound_rules"][0]["ports"], "0");
    assert_eq!(
        answer.body["firewall"]["inbound_rules"][0]["sources"], from,
        "empty lists are left out"
    );
    for (rule, message) in [
        (json!({"protocol": "tcp", "sources": from}), "missing ports"),
        (
            json!({"protocol": "tcp", "ports": "9000-8000", "sources": from}),
            "invalid ports",
        ),
        (json!({"protocol": "tcp", "ports": "70000", "sources": from}), "invalid ports"),
        (
            json!({"protocol": "sctp", "ports": "1", "sources": from}),
            "invalid protocol, must be one of tcp, udp, icmp",
        ),
        (
            json!({"protocol": "tcp", "ports": "1", "sources": {"addresses": ["x"]}}),
            "invalid address",
        ),
        (
            json!({"protocol": "tcp", "ports": "1", "sources": [from]}),
            "You specified an invalid type for one of the sources.",
        ),
        (
            json!({"protocol": "tcp", "ports": "1", "sources": {}}),
            "You must specify at least one of the sources.",
        ),
    ] {
        let answer = create("refused", rule).await;
        assert_eq!((answer.status, answer.body["message"].as_str()), (422, Some(message)));
    }
    assert_eq!(
        create("", json!({"protocol": "icmp", "sources": from})).await.body["message"],
        "missing name"
    );
    assert_eq!(create("-x", json!({"protocol": "icmp", "sources": from})).await.status, 422);
}
