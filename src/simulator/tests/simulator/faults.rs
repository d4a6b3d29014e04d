//! Faults, lags, the journal, and what happens behind the API's back.

use crate::bed::{Bed, plain};
use digitalocean::{Class, DropletFilter, Error};
use serde_json::{Value, json};
use simulator::{Fault, FaultRule, What};

#[tokio::test]
async fn an_answer_is_lost_before_or_after_its_effect() {
    let bed = Bed::new().await;
    for (fault, made) in [
        (Fault::DropBefore, 0),
        (
            Fault::Html {
                status: 504,
                after_effect: false,
            },
            0,
        ),
        (Fault::DropAfter, 1),
        (
            Fault::Html {
                status: 502,
                after_effect: true,
            },
            2,
        ),
    ] {
        bed.simulator.fault(FaultRule::next("POST", "/v2/droplets", fault.clone()));
        let error = bed.client.droplet_create(&plain("one", &[])).await.unwrap_err();
        assert_eq!(error.class(), Class::Ambiguous, "{fault:?}: {error:?}");
        assert_eq!(bed.simulator.droplets().len(), made, "{fault:?}");
    }
    bed.client.droplet_create(&plain("one", &[])).await.unwrap();
    let statuses: Vec<_> = bed.simulator.journal(0).into_iter().map(|entry| entry.what).collect();
    let statuses: Vec<_> = statuses
        .iter()
        .map(|what| match what {
            What::Request { status, .. } => *status,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        statuses,
        [None, None, Some(202), Some(202), Some(202)],
        "what the API came to"
    );
}

#[tokio::test]
async fn a_read_survives_a_few_faults() {
    let bed = Bed::new().await;
    bed.simulator.fault(FaultRule {
        method: Some("GET".to_owned()),
        path: Some("/v2/*".to_owned()),
        times: 2,
        fault: Fault::DropBefore,
    });
    bed.client.account_get().await.unwrap();
}

#[tokio::test]
async fn faults_can_be_set_over_http() {
    let bed = Bed::new().await;
    let rule = json!({"method": "DELETE", "path": "/v2/droplets/*", "times": 1, "fault":
        {"kind": "refuse", "status": 422, "id": "unprocessable_entity", "message": "Please try again."}});
    assert_eq!(bed.ask("POST", "/simulator/faults", rule.clone()).await.status, 201);
    assert_eq!(bed.get("/simulator/faults").await, json!([rule]));
    let id = bed.active(&plain("one", &[])).await.id;
    let error = bed.client.droplet_delete(id).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                refusal: digitalocean::Refusal::TryAgain,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(bed.get("/simulator/faults").await, json!([]));
    bed.client.droplet_delete(id).await.unwrap();
}

#[tokio::test]
async fn lists_lag_and_new_droplets_hide() {
    let bed = Bed::new().await;
    let old = bed.active(&plain("old", &[])).await.id;
    bed.simulator.configure(|settings| settings.list_lag_ms = 600_000);
    assert!(
        bed.client.droplet_list(&DropletFilter::All).await.unwrap().is_empty(),
        "not in lists yet"
    );
    bed.client.droplet_get(old).await.unwrap();
    bed.simulator.configure(|settings| settings.hide_after_create_ms = 600_000);
    let hidden = bed.client.droplet_create(&plain("new", &[])).await.unwrap().droplet.id;
    assert!(bed.client.droplet_get(hidden).await.unwrap_err().is_not_found());
    let known = bed.simulator.droplets();
    assert!(known.iter().any(|droplet| droplet.id == hidden && droplet.hidden));
    bed.simulator.configure(|settings| settings.hide_after_create_ms = 0);
    bed.client.droplet_get(hidden).await.unwrap();
}

#[tokio::test]
async fn a_lagging_list_still_shows_the_dead() {
    let bed = Bed::new().await;
    let id = bed.active(&plain("one", &[])).await.id;
    bed.simulator.destroy(id).await;
    assert!(bed.client.droplet_list(&DropletFilter::All).await.unwrap().is_empty());
    bed.simulator.configure(|settings| settings.list_lag_ms = 600_000);
    let listed = bed.client.droplet_list(&DropletFilter::All).await.unwrap();
    assert_eq!(listed.iter().map(|droplet| droplet.id).collect::<Vec<_>>(), [id]);
    assert!(bed.client.droplet_get(id).await.unwrap_err().is_not_found());
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
    assert!(journal["reads"].as_u64().unwrap() > 0);
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
async fn settings_are_changed_over_http() {
    let bed = Bed::new().await;
    let answer = bed.ask("PATCH", "/simulator/settings", json!({"droplet_limit": 3})).await;
    assert_eq!(
        (answer.status, &answer.body["droplet_limit"], &answer.body["boot_ms"]),
        (200, &json!(3), &json!(20))
    );
    assert_eq!(bed.client.account_get().await.unwrap().droplet_limit, 3);
    let answer = bed.ask("PATCH", "/simulator/settings", json!({"droplet_limits": 3})).await;
    assert_eq!(answer.status, 422, "an unknown setting is named: {answer:?}");
    assert!(answer.body["message"].as_str().unwrap().contains("droplet_limits"));
}
