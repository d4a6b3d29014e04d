//! Rate limits and their headers.

use crate::bed::Bed;
use jiff::Timestamp;
use serde_json::Value;

fn header(answer: &crate::bed::Answer, name: &str) -> Option<i64> {
    answer.headers.get(name)?.to_str().ok()?.parse().ok()
}

#[tokio::test]
async fn every_answer_tells_what_is_left() {
    let bed = Bed::new().await;
    let now = Timestamp::now().as_second();
    for left in [4_999, 4_998] {
        let answer = bed.ask("GET", "/v2/account", Value::Null).await;
        assert_eq!(header(&answer, "ratelimit-limit"), Some(5_000));
        assert_eq!(header(&answer, "ratelimit-remaining"), Some(left));
        let reset = header(&answer, "ratelimit-reset").unwrap();
        assert!((now + 3_500..=now + 3_700).contains(&reset), "{reset}");
        assert_eq!(header(&answer, "retry-after"), None);
    }
    let refused = bed.ask_as("another", "GET", "/v2/account", Value::Null).await.unwrap();
    assert_eq!(header(&refused, "ratelimit-remaining"), None, "a refused token has no budget");
}

#[tokio::test]
async fn a_burst_is_told_to_wait_and_the_hour_is_not() {
    let bed = Bed::with(|config| config.settings.requests_per_minute = 2).await;
    for _ in 0..2 {
        assert_eq!(bed.ask("GET", "/v2/account", Value::Null).await.status, 200);
    }
    let burst = bed.ask("POST", "/v2/tags", serde_json::json!({"name": "x"})).await;
    assert_eq!((burst.status, burst.body["id"].as_str()), (429, Some("too_many_requests")));
    assert_eq!(burst.body["message"], "API Rate limit exceeded.");
    assert_eq!(header(&burst, "ratelimit-remaining"), Some(0));
    assert!((1..=60).contains(&header(&burst, "retry-after").unwrap()));

    bed.simulator.configure(|settings| {
        settings.requests_per_minute = 250;
        settings.requests_per_hour = 2;
    });
    let hour = bed.ask("GET", "/v2/tags", Value::Null).await;
    assert_eq!(hour.status, 429);
    assert_eq!(header(&hour, "retry-after"), None);
    bed.simulator.configure(|settings| settings.requests_per_hour = 5_000);
    assert_eq!(
        bed.get("/v2/tags").await["meta"]["total"],
        0,
        "what was refused had no effect"
    );
}

#[tokio::test]
async fn minutes_and_hours_can_be_short_and_what_was_refused_is_counted() {
    let bed = Bed::with(|config| {
        config.settings.requests_per_minute = 3;
        config.settings.requests_per_hour = 5;
        (config.settings.minute_ms, config.settings.hour_ms) = (300, 1_000);
    })
    .await;
    let mut refused = 0_u64;
    bed.until("ten answers", async || {
        let answer = bed.ask("GET", "/v2/account", Value::Null).await;
        refused += u64::from(answer.status == 429);
        assert!(answer.status == 429 || header(&answer, "retry-after").is_none());
        (bed.simulator.counts().limits.let_through == 10).then_some(())
    })
    .await;
    let limits = bed.simulator.counts().limits;
    assert_eq!(limits.by_minute + limits.by_hour, refused);
    assert!(limits.by_minute > 0 && limits.by_hour > 0, "{limits:?}");
    assert_eq!(limits.busiest_minute, 3);
    assert_eq!(bed.get("/simulator/journal").await["counts"]["limits"]["let_through"], 10);
}
