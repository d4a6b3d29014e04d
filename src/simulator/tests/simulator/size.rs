//! A large account.

use crate::bed::{Bed, plain};
use digitalocean::{DropletFilter, DropletStatus};
use serde_json::json;
use simulator::{Connection, DropletSeed, Protocol};
use std::collections::HashSet;

/// Enough for several pages, and not so many that an unoptimised build takes long.
const MANY: usize = 2_000;

fn environment(number: usize) -> String {
    format!("toolplane:environment:{number}")
}

#[tokio::test]
async fn many_droplets_and_firewalls_are_listed_by_pages_of_200() {
    let bed = Bed::with(|config| {
        config.settings.droplet_limit = 20_000;
        config.settings.requests_per_minute = 1_000;
    })
    .await;
    let ids = bed
        .simulator
        .seed_droplets(MANY, |number| {
            DropletSeed::new(format!("d-{number}"), ["toolplane".to_owned(), environment(number)])
        })
        .unwrap();
    bed.simulator
        .seed_firewalls(MANY, |number| {
            json!({"name": format!("fw-{number}"), "tags": [environment(number)], "inbound_rules":
                [{"protocol": "tcp", "ports": "22", "sources": {"addresses": ["203.0.113.1"]}}]})
        })
        .unwrap();
    let ours = DropletFilter::Tag("toolplane".to_owned());
    let droplets = bed.client.droplet_list(&ours).await.unwrap();
    assert_eq!(droplets.iter().map(|droplet| droplet.id).collect::<Vec<_>>(), ids);
    assert!(droplets.iter().all(|droplet| droplet.status == DropletStatus::Active));
    let addresses: HashSet<_> = droplets.iter().filter_map(digitalocean::Droplet::public_ipv4).collect();
    assert_eq!(addresses.len(), MANY, "each has its own");
    let firewalls = bed.client.firewall_list().await.unwrap();
    assert_eq!(firewalls.len(), MANY);
    let reads = bed.simulator.counts().reads;
    assert_eq!((reads["GET /v2/droplets"], reads["GET /v2/firewalls"]), (10, 10));
    assert!(bed.simulator.journal(0).is_empty(), "seeding is no request");

    // Each firewall is in force on its own droplet.
    let connection = |from: &str| Connection {
        droplet: ids[7],
        port: 22,
        protocol: Protocol::Tcp,
        from: from.parse().unwrap(),
    };
    let passage = |from: &str| bed.simulator.connection(&connection(from)).unwrap();
    assert_eq!(passage("203.0.113.1").by.as_deref(), Some("fw-7"));
    assert!(!passage("203.0.113.2").let_in);

    // A large account works like a small one.
    bed.active(&plain("one-more", &["toolplane"])).await;
    bed.client.droplet_delete(ids[7]).await.unwrap();
    bed.until("gone", async || bed.client.droplet_get(ids[7]).await.err()).await;
    assert_eq!(bed.client.droplet_list(&ours).await.unwrap().len(), MANY);
}

#[tokio::test]
async fn a_seed_that_the_api_would_refuse_is_refused() {
    let bed = Bed::new().await;
    let refused = bed
        .simulator
        .seed_droplets(1, |_| DropletSeed::new("d", ["a b"]))
        .unwrap_err();
    assert!(refused.to_string().contains("Tag"), "{refused}");
    let refused = bed.simulator.seed_firewalls(1, |_| json!({"name": "fw"})).unwrap_err();
    assert!(refused.to_string().contains("rule"), "{refused}");
}
