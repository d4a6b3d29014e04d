//! What happens to a request on its way, and answers in the API's place.

use crate::bed::{Answer, Bed, TOKEN, plain, plain_body};
use digitalocean::{Class, Client, DropletAction, Error, Refusal};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulator::{Fault, FaultRule, What};
use std::time::Duration;

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
    bed.simulator
        .fault(FaultRule::next("GET", "/v2/*", Fault::DropBefore).times(2));
    bed.client.account_get().await.unwrap();
}

#[tokio::test]
async fn faults_can_be_set_over_http() {
    let bed = Bed::new().await;
    let rule = json!({"method": "DELETE", "path": "/v2/droplets/*", "fault":
        {"kind": "refuse", "status": 422, "id": "unprocessable_entity", "message": "Please try again."}});
    assert_eq!(bed.ask("POST", "/simulator/faults", rule.clone()).await.status, 201);
    let waiting = bed.get("/simulator/faults").await;
    assert_eq!((&waiting[0]["fault"], &waiting[0]["times"]), (&rule["fault"], &json!(1)));
    let unknown = json!({"fault": {"kind": "earthquake"}});
    assert_eq!(bed.ask("POST", "/simulator/faults", unknown).await.status, 422);
    let id = bed.active(&plain("one", &[])).await.id;
    let error = bed.client.droplet_delete(id).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                refusal: Refusal::TryAgain,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(bed.get("/simulator/faults").await, json!([]));
    bed.client.droplet_delete(id).await.unwrap();
}

/// A client that gives up after a moment: the one of the bed waits for half a minute.
fn hasty(bed: &Bed) -> Client {
    let mut config = digitalocean::Config::new(bed.simulator.base_url().clone(), TOKEN.into());
    (config.timeout, config.read_attempts) = (Duration::from_millis(300), 1);
    Client::new(config).unwrap()
}

#[tokio::test]
async fn an_answer_never_comes_before_or_after_its_effect() {
    let bed = Bed::new().await;
    let client = hasty(&bed);
    for (after_effect, made) in [(false, 0), (true, 1)] {
        let timeout = Fault::Timeout { after_effect };
        bed.simulator.fault(FaultRule::next("POST", "/v2/droplets", timeout));
        let error = client.droplet_create(&plain("one", &[])).await.unwrap_err();
        assert_eq!(error.class(), Class::Ambiguous, "{error:?}");
        assert_eq!(bed.simulator.droplets().len(), made);
    }
    let timeout = Fault::Timeout { after_effect: true };
    bed.simulator.fault(FaultRule::next("GET", "/v2/account", timeout));
    let error = client.account_get().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    // A request that hangs does not hold up the end.
    let hang = FaultRule::new(Fault::Timeout { after_effect: false });
    bed.simulator.fault(hang.always());
    let hanging = tokio::spawn({
        let client = bed.client.clone();
        async move { client.account_get().await }
    });
    bed.until("the hanging request", async || {
        (bed.simulator.counts().faults["timeout"] > 3).then_some(())
    })
    .await;
    bed.simulator.shutdown().await;
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn a_5xx_of_an_edge_is_a_page_of_html_before_or_after_the_effect() {
    let bed = Bed::new().await;
    let mut made = 0;
    for status in [500, 502, 503, 504] {
        for after_effect in [false, true] {
            let fault = Fault::Html { status, after_effect };
            bed.simulator.fault(FaultRule::next("POST", "/v2/droplets", fault.clone()));
            let answer = bed.ask("POST", "/v2/droplets", plain_body("one")).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.headers["content-type"], "text/html");
            assert!(answer.body.as_str().unwrap().starts_with("<html>"), "{answer:?}");
            made += usize::from(after_effect);
            assert_eq!(bed.simulator.droplets().len(), made, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn refusals_are_worded_as_in_the_wild() {
    let bed = Bed::new().await;
    let id = bed.active(&plain("one", &[])).await.id;
    let action = format!("/v2/droplets/{id}/actions");
    for (fault, path, message, refusal) in [
        (Fault::TryAgain, "/v2/droplets", "Please try again", Refusal::TryAgain),
        (
            Fault::PendingEvent,
            action.as_str(),
            "Droplet already has a pending event.",
            Refusal::PendingEvent,
        ),
        (
            Fault::DropletLimit,
            "/v2/droplets",
            "creating this/these droplet(s) will exceed your droplet limit",
            Refusal::DropletLimit,
        ),
    ] {
        bed.simulator.fault(FaultRule::next("POST", path, fault));
        let since = bed.simulator.journal_next();
        let error = if path == "/v2/droplets" {
            bed.client.droplet_create(&plain("two", &[])).await.unwrap_err()
        } else {
            bed.client.droplet_action(id, &DropletAction::Reboot).await.unwrap_err()
        };
        assert!(
            matches!(&error, Error::Refused { status: 422, refusal: found, message: said, .. } if *found == refusal && said == message),
            "{error:?}"
        );
        let entry = bed.simulator.changes(since).pop().unwrap();
        assert!(
            matches!(entry.what, What::Request { status: Some(422), .. }),
            "the API came to it: {entry:?}"
        );
    }
    assert_eq!(bed.simulator.droplets().len(), 1, "nothing was changed");
}

#[tokio::test]
async fn a_429_says_when_to_come_back_for_the_minute_and_for_the_hour() {
    let bed = Bed::new().await;
    let number = |answer: &Answer, name: &str| -> Option<i64> { answer.headers.get(name)?.to_str().unwrap().parse().ok() };
    bed.simulator.fault(FaultRule::new(Fault::Burst { retry_after: 7 }));
    let burst = bed.ask("GET", "/v2/account", Value::Null).await;
    assert_eq!((burst.status, number(&burst, "retry-after")), (429, Some(7)));
    assert_eq!(burst.body["message"], "API Rate limit exceeded.");
    assert_eq!(number(&burst, "ratelimit-remaining"), Some(0));
    let fault = Fault::HourSpent { reset_after: 90 };
    bed.simulator.fault(FaultRule::next("POST", "/v2/droplets", fault.clone()));
    let spent = bed.ask("POST", "/v2/droplets", plain_body("one")).await;
    assert_eq!((spent.status, number(&spent, "retry-after")), (429, None));
    assert_eq!(
        (number(&spent, "ratelimit-limit"), number(&spent, "ratelimit-remaining")),
        (Some(5_000), Some(0))
    );
    bed.simulator.fault(FaultRule::next("POST", "/v2/droplets", fault));
    let error = bed.client.droplet_create(&plain("one", &[])).await.unwrap_err();
    let Error::RateLimited { retry_at, .. } = error else {
        panic!("{error:?}")
    };
    let wait = retry_at.duration_since(Timestamp::now());
    assert!(wait > SignedDuration::from_secs(60), "{wait:?}");
    assert!(bed.simulator.droplets().is_empty(), "nothing was changed");
}

#[tokio::test]
async fn the_same_seed_has_the_same_requests_fail() {
    let mut stories = Vec::new();
    for seed in [5, 5, 6] {
        let bed = Bed::new().await;
        let rule = FaultRule::next("POST", "/v2/tags", Fault::TryAgain).chance(0.5, seed);
        bed.simulator.fault(rule);
        let mut story = Vec::new();
        for number in 0..40 {
            story.push(bed.client.tag_create(&format!("t-{number}")).await.is_ok());
            bed.client.account_get().await.unwrap();
        }
        stories.push(story);
    }
    assert_eq!(stories[0], stories[1]);
    assert_ne!(stories[0], stories[2]);
    assert!(stories[0].contains(&true) && stories[0].contains(&false));
}

#[tokio::test]
async fn the_second_of_some_requests_can_be_meant() {
    let bed = Bed::new().await;
    bed.simulator
        .fault(FaultRule::next("POST", "/v2/tags", Fault::TryAgain).skip(1));
    let mut story = Vec::new();
    for name in ["a", "b", "c"] {
        story.push(bed.client.tag_create(name).await.is_ok());
    }
    assert_eq!(story, [true, false, true]);
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
