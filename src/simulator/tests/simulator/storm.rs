//! Everything at once, and an account that is whole afterwards.

use crate::bed::{Bed, TOKEN, plain_body};
use digitalocean::DropletFilter;
use serde_json::json;
use std::time::Duration;

/// What came of a fixed sequence of requests, one after the other. Our own client would wait after a 429; this one does not.
async fn story(seed: u64) -> (Vec<String>, Bed) {
    let bed = Bed::new().await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    bed.simulator.storm(seed, 1.0);
    let mut told = Vec::new();
    for number in 0..30 {
        for (path, body) in [
            ("v2/droplets", plain_body(&format!("d-{number}"))),
            ("v2/tags", json!({"name": "t"})),
        ] {
            let url = bed.simulator.base_url().join(path).unwrap();
            let answer = client.post(url).bearer_auth(TOKEN).json(&body).send().await;
            told.push(answer.map_or_else(|error| error.is_timeout().to_string(), |answer| answer.status().to_string()));
        }
    }
    (told, bed)
}

#[tokio::test]
async fn a_storm_is_the_same_for_the_same_seed() {
    let ((first, one), (second, _), (other, _)) = tokio::join!(story(3), story(3), story(4));
    assert_eq!(first, second);
    assert_ne!(first, other);
    let made = first.iter().filter(|told| told.starts_with("202")).count();
    assert!((10..30).contains(&made), "{made} of 30 creates went well: {first:?}");
    let counts = one.simulator.counts();
    assert!(counts.faults.len() > 5, "{counts:?}");
}

#[tokio::test]
async fn after_a_storm_everything_works_again() {
    let (_, bed) = story(11).await;
    bed.simulator.calm();
    let listed = bed
        .until("a list that agrees", async || {
            let listed = bed.client.droplet_list(&DropletFilter::All).await.unwrap();
            (listed.len() == bed.simulator.droplets().len()).then_some(listed)
        })
        .await;
    assert!(!listed.is_empty());
    for droplet in listed {
        let deleted = bed.client.droplet_delete(droplet.id).await;
        // Some that were seen have vanished since: the storm had that in store for them.
        assert!(deleted.map_or_else(|error| error.is_not_found(), |()| true));
    }
    bed.until("all gone", async || bed.simulator.droplets().is_empty().then_some(()))
        .await;
}

#[tokio::test]
async fn a_storm_can_be_raised_over_http() {
    let bed = Bed::new().await;
    let storm = json!({"storm": {"seed": 1, "intensity": 0.5}});
    assert_eq!(bed.ask("POST", "/simulator/faults", storm).await.status, 201);
    assert!(bed.get("/simulator/faults").await.as_array().unwrap().len() > 30);
    let unknown = json!({"storm": {"seed": 1, "strength": 9}});
    assert_eq!(bed.ask("POST", "/simulator/faults", unknown).await.status, 422);
    assert_eq!(bed.ask("DELETE", "/simulator/faults", json!(null)).await.status, 204);
    assert_eq!(bed.get("/simulator/faults").await, json!([]));
}
