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
    assert!((1..=61).contains(&header(&burst, "retry-after").unwrap()));

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
