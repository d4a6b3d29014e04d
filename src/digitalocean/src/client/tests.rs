use crate::{
    Budget, BudgetConfig, Class, Client, Config, DropletAction, DropletCreate, DropletFilter, DropletStatus, Error, ImageRef,
    Priority, Refusal, Resource,
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{num::NonZeroU32, time::Duration};
use wiremock::{
    Mock, MockServer, Request, Respond, ResponseTemplate,
    matchers::{any, body_json, header, method, path, query_param},
};

fn config(server: &MockServer) -> Config {
    // Another test may have installed it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::new(server.uri().parse().unwrap(), SecretString::from("dop_v1_secret"));
    config.timeout = Duration::from_millis(400);
    config
}

fn client(server: &MockServer) -> Client {
    Client::new(config(server)).unwrap()
}

fn droplet(id: u64) -> Value {
    json!({
        "id": id, "name": "te", "memory": 1024, "vcpus": 1, "disk": 25, "locked": false, "status": "active", "kernel": null,
        "created_at": "2026-08-07T10:00:00Z", "features": [], "backup_ids": null, "next_backup_window": null,
        "image": {"id": 1, "slug": "ubuntu-24-04-x64", "regions": null, "created_at": "x", "unknown": {}},
        "size": {}, "size_slug": "s-1vcpu-1gb", "networks": {"v4": [
            {"ip_address": "10.0.0.2", "netmask": "255.255.0.0", "gateway": "nil", "type": "private"},
            {"ip_address": "203.0.113.9", "netmask": "255.255.255.0", "gateway": "203.0.113.1", "type": "public"}], "v6": null},
        "region": {"slug": "fra1", "name": "Frankfurt 1", "available": true, "sizes": [], "features": []},
        "tags": null, "vpc_uuid": "x", "a_field_of_tomorrow": [1, 2]
    })
}

fn create() -> DropletCreate {
    DropletCreate {
        name: "te".to_owned(),
        region: "fra1".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-24-04-x64".to_owned()),
        tags: vec!["toolplane".to_owned()],
        user_data: Some(SecretString::from("#cloud-config")),
        vpc_uuid: None,
        ssh_keys: Vec::new(),
        monitoring: false,
        ipv6: false,
    }
}

/// A fleet in pages, as the API serves it; `spoil` changes the answers.
struct Fleet<F> {
    ids: Vec<u64>,
    spoil: F,
}

impl<F: Fn(usize, &mut Value) + Send + Sync> Respond for Fleet<F> {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let number = |name: &str| {
            let value = request
                .url
                .query_pairs()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned());
            value.and_then(|value| value.parse::<usize>().ok())
        };
        let (page, per_page) = (number("page").unwrap_or(1), number("per_page").unwrap_or(20));
        let shown: Vec<Value> = self
            .ids
            .iter()
            .skip((page - 1) * per_page)
            .take(per_page)
            .map(|id| droplet(*id))
            .collect();
        let mut pages = json!({});
        if page * per_page < self.ids.len() {
            pages["next"] = json!(format!(
                "http://elsewhere.example/v2/droplets?per_page={per_page}&page={}",
                page + 1
            ));
        }
        let mut body = json!({"droplets": shown, "links": {"pages": pages}, "meta": {"total": self.ids.len()}});
        (self.spoil)(page, &mut body);
        ResponseTemplate::new(200).set_body_json(body)
    }
}

async fn fleet_of(count: u64, spoil: impl Fn(usize, &mut Value) + Send + Sync + 'static) -> MockServer {
    let server = MockServer::start().await;
    let fleet = Fleet {
        ids: (1..=count).collect(),
        spoil,
    };
    Mock::given(method("GET"))
        .and(path("/v2/droplets"))
        .respond_with(fleet)
        .mount(&server)
        .await;
    server
}

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

fn html(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw("<html><body><h1>504 Gateway Time-out</h1></body></html>", "text/html")
}

fn problem(status: u16, id: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"id": id, "message": message}))
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let server = fleet_of(450, |_, _| {}).await;
    let droplets = client(&server).droplet_list(&DropletFilter::All).await.unwrap();
    assert_eq!(
        droplets.iter().map(|droplet| droplet.id).collect::<Vec<_>>(),
        (1..=450).collect::<Vec<_>>()
    );
    assert_eq!(requests(&server).await, 3, "200 a page");
    assert_eq!(droplets[0].public_ipv4().unwrap().to_string(), "203.0.113.9");
    assert_eq!(droplets[0].status, DropletStatus::Active);
    assert!(droplets[0].tags.is_empty(), "null reads as empty");
}

#[tokio::test]
async fn an_empty_list_is_whole() {
    let server = fleet_of(0, |_, body| body["links"] = json!({})).await;
    assert!(
        client(&server)
            .droplet_list(&DropletFilter::Tag("t".to_owned()))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_part_of_a_list_is_never_taken_for_the_whole() {
    let cut = |_: usize, body: &mut Value| {
        body["droplets"].as_array_mut().unwrap().truncate(3);
    };
    let without_next = |_: usize, body: &mut Value| body["links"] = json!({});
    let shrinking = |page: usize, body: &mut Value| body["meta"]["total"] = json!(450 - page);
    let repeating = |page: usize, body: &mut Value| {
        if page == 2 {
            body["droplets"][0] = droplet(1);
        }
    };
    let empty = |page: usize, body: &mut Value| {
        if page == 2 {
            body["droplets"] = json!([]);
        }
    };
    let leaping = |_: usize, body: &mut Value| body["links"]["pages"]["next"] = json!("http://x.example/?page=7");
    let servers = [
        fleet_of(450, cut).await,
        fleet_of(450, without_next).await,
        fleet_of(450, shrinking).await,
        fleet_of(450, repeating).await,
        fleet_of(450, empty).await,
        fleet_of(450, leaping).await,
    ];
    for (case, server) in servers.iter().enumerate() {
        let error = client(server).droplet_list(&DropletFilter::All).await.unwrap_err();
        assert!(matches!(error, Error::Incomplete { .. }), "case {case}: {error:?}");
        assert_eq!(error.class(), Class::Retriable { after: None });
    }
}

#[tokio::test]
async fn a_list_that_changed_while_it_was_read_is_read_again() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server = fleet_of(3, move |_, body| {
        if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            body["meta"]["total"] = json!(4);
        }
    })
    .await;
    assert_eq!(client(&server).droplet_list(&DropletFilter::All).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_list_that_grew_while_it_was_read_is_whole_as_of_its_beginning() {
    // One more after the first page, in front of all others: the first page's last one comes again, on the second.
    let server = fleet_of(450, |page, body| {
        if page == 1 {
            body["meta"]["total"] = json!(449);
            body["droplets"][0] = droplet(200);
            body["droplets"].as_array_mut().unwrap().pop();
            body["droplets"].as_array_mut().unwrap().push(droplet(201));
        }
    })
    .await;
    let droplets = client(&server).droplet_list(&DropletFilter::All).await.unwrap();
    assert_eq!((droplets.len(), requests(&server).await), (449, 3));

    let lacking = fleet_of(450, |page, body| match page {
        1 => body["meta"]["total"] = json!(449),
        _ => body["droplets"].as_array_mut().unwrap().truncate(10),
    })
    .await;
    let error = client(&lacking).droplet_list(&DropletFilter::All).await.unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }), "{error:?}");
}

#[tokio::test]
async fn a_page_without_a_total_is_no_list() {
    let server = fleet_of(3, |_, body| body["meta"] = json!({})).await;
    let error = client(&server).droplet_list(&DropletFilter::All).await.unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error:?}");
}

#[tokio::test]
async fn a_create_is_sent_once_whatever_comes_back() {
    for answer in [
        html(504),
        problem(500, "server_error", "Unexpected server-side error"),
        ResponseTemplate::new(202),
    ] {
        let server = answering(answer).await;
        let error = client(&server).droplet_create(&create()).await.unwrap_err();
        assert_eq!(error.class(), Class::Ambiguous, "{error:?}");
        assert!(!error.to_string().contains('<'), "{error}");
        assert_eq!(requests(&server).await, 1);
    }
}

#[tokio::test]
async fn a_create_that_was_announced_spends_the_leave_that_was_reserved_for_it() {
    let server = answering(ResponseTemplate::new(202).set_body_json(json!({"droplet": droplet(7)}))).await;
    let mut config = config(&server);
    config.budget = Budget::new(BudgetConfig {
        per_minute: NonZeroU32::MIN,
        patience: Duration::ZERO,
        ..BudgetConfig::default()
    });
    let client = Client::new(config).unwrap();
    let leave = client.droplet_create_reserve().await.unwrap();
    let error = client.droplet_create_reserve().await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }), "{error:?}");
    let created = client.announced(Some(leave)).droplet_create(&create()).await.unwrap();
    assert_eq!((created.droplet.id, requests(&server).await), (7, 1));
    let error = client.announced(None).droplet_create(&create()).await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }), "{error:?}");
    assert_eq!(requests(&server).await, 1);
}

#[tokio::test]
async fn a_create_without_an_answer_in_time_is_ambiguous() {
    let server = answering(ResponseTemplate::new(202).set_delay(Duration::from_secs(5))).await;
    let error = client(&server).droplet_create(&create()).await.unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error:?}");
}

#[tokio::test]
async fn a_dropped_connection_is_ambiguous_and_no_connection_is_not() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dropping = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.unwrap();
    });
    let server = MockServer::start().await;
    let mut config = config(&server);
    config.base_url = format!("http://{address}").parse().unwrap();
    let client = Client::new(config).unwrap();
    let error = client.droplet_delete(1).await.unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error:?}");
    dropping.await.unwrap();
    let error = client.droplet_delete(1).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "nothing was sent: {error:?}");
}

#[tokio::test]
async fn a_read_is_tried_again() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(html(503))
        .up_to_n_times(2)
        .mount(&server)
        .await;
    let answer = ResponseTemplate::new(200).set_body_json(json!({"droplet": droplet(7)}));
    Mock::given(path("/v2/droplets/7")).respond_with(answer).mount(&server).await;
    assert_eq!(client(&server).droplet_get(7).await.unwrap().id, 7);
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn a_read_that_keeps_failing_is_unavailable() {
    let server = answering(html(504)).await;
    let error = client(&server).droplet_get(7).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let server = answering(problem(404, "not_found", "The resource you requested could not be found.")).await;
    assert!(client(&server).droplet_delete(1).await.unwrap_err().is_not_found());

    let server = answering(problem(422, "unprocessable_entity", "Droplet already has a pending event.")).await;
    let error = client(&server).droplet_action(1, &DropletAction::PowerOff).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                refusal: Refusal::PendingEvent,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(matches!(error.class(), Class::Retriable { after: Some(_) }));

    let server = answering(problem(
        422,
        "unprocessable_entity",
        "You specified an invalid image for Droplet creation.",
    ))
    .await;
    let error = client(&server).droplet_create(&create()).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                refusal: Refusal::Invalid { field: Some("image") },
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Terminal);
}

#[tokio::test]
async fn a_refused_token_heals_by_itself_and_is_not_shown() {
    let server = answering(problem(401, "unauthorized", "Unable to authenticate you.")).await;
    let client = client(&server);
    let error = client.account_get().await.unwrap_err();
    assert!(error.to_string().contains("digitalocean_token"), "{error}");
    assert!(matches!(error.class(), Class::Retriable { after: Some(_) }));
    assert!(!format!("{client:?}{error:?}").contains("dop_v1_secret"));
}

#[tokio::test]
async fn after_a_429_the_client_is_silent_until_its_time() {
    let limited = problem(429, "too_many_requests", "API Rate limit exceeded.")
        .insert_header("ratelimit-limit", "5000")
        .insert_header("ratelimit-remaining", "0")
        .insert_header("ratelimit-reset", (Timestamp::now().as_second() + 3_000).to_string())
        .insert_header("retry-after", "29");
    let server = answering(limited).await;
    let client = client(&server);
    for _ in 0..3 {
        let error = client.droplet_get(1).await.unwrap_err();
        let Error::RateLimited { retry_at, .. } = error else {
            panic!("{error:?}")
        };
        let wait = retry_at.duration_since(Timestamp::now());
        assert!(
            wait > SignedDuration::from_secs(25) && wait < SignedDuration::from_secs(31),
            "{wait:?}"
        );
    }
    assert_eq!(requests(&server).await, 1);
}

#[tokio::test]
async fn the_budget_is_corrected_from_headers() {
    // Their clock is an hour behind ours.
    let now = Timestamp::now();
    let theirs = now - SignedDuration::from_hours(1);
    let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&theirs);
    let answer = ResponseTemplate::new(200)
        .set_body_json(json!({"droplet": droplet(7)}))
        .insert_header("date", date.unwrap())
        .insert_header("ratelimit-limit", "5000")
        .insert_header("ratelimit-remaining", "123")
        .insert_header("ratelimit-reset", (theirs.as_second() + 1_800).to_string());
    let server = answering(answer).await;
    let client = client(&server);
    client.droplet_get(7).await.unwrap();
    let status = client.budget().status();
    assert_eq!((status.limit, status.remaining), (5_000, Some(123)));
    let ahead = status.reset_at.unwrap().duration_since(now);
    assert!((1_799..1_860).contains(&ahead.as_secs()), "{ahead}");
    // 123 of 5,000 are kept for what goes before a read.
    assert!(matches!(client.droplet_get(7).await, Err(Error::RateLimited { .. })));
    assert!(client.budget().acquire(Priority::Delete).await.is_ok());
}

/// The end of the hour is kept for deletes and creates, and so for what is read right before one.
#[tokio::test]
async fn at_the_end_of_an_hour_only_those_reads_go_that_a_change_waits_for() {
    let answer = ResponseTemplate::new(200)
        .insert_header("ratelimit-limit", "5000")
        .insert_header("ratelimit-remaining", "123")
        .insert_header("ratelimit-reset", (Timestamp::now().as_second() + 3_000).to_string())
        .set_body_json(json!({"droplet": droplet(7)}));
    let server = answering(answer).await;
    let client = client(&server);
    client.droplet_get(7).await.unwrap();
    assert!(client.budget().is_short());
    assert!(matches!(client.droplet_get(7).await, Err(Error::RateLimited { .. })));
    client.reading_for(Priority::Delete).droplet_get(7).await.unwrap();
    client.reading_for(Priority::Create).droplet_get(7).await.unwrap();
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn a_list_that_has_begun_is_let_ahead() {
    // Reads may have eighteen of twenty a minute. The rest is for what goes before them, and for one that is let ahead.
    for (spent, expected) in [(17, 2), (18, 0)] {
        let server = fleet_of(250, |_, _| {}).await;
        let mut config = config(&server);
        config.budget = Budget::new(BudgetConfig {
            per_minute: NonZeroU32::new(20).unwrap(),
            patience: Duration::from_hours(1),
            ..BudgetConfig::default()
        });
        let client = Client::new(config).unwrap();
        for _ in 0..spent {
            drop(client.budget().acquire(Priority::Read).await.unwrap());
        }
        let list = client.droplet_list(&DropletFilter::All);
        let listed = tokio::time::timeout(Duration::from_secs(3), list).await;
        assert_eq!(listed.is_ok(), expected == 2, "after {spent}: {listed:?}");
        assert_eq!(requests(&server).await, expected, "after {spent}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = answering(ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/")).await;
    let error = client(&server).droplet_get(1).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 302, .. }), "{error:?}");
}

#[tokio::test]
async fn requests_are_spelled_as_the_api_wants_them() {
    let server = MockServer::start().await;
    Mock::given(method("DELETE"))
        .and(path("/v2/tags/toolplane:x/resources"))
        .and(header("authorization", "Bearer dop_v1_secret"))
        .and(body_json(
            json!({"resources": [{"resource_id": "5", "resource_type": "droplet"}]}),
        ))
        .respond_with(ResponseTemplate::new(204))
        .expect(1)
        .mount(&server)
        .await;
    let action = json!({"action": {"id": 3, "status": "in-progress", "type": "resize", "completed_at": null, "resource_id": 5}});
    Mock::given(method("POST"))
        .and(path("/v2/droplets/5/actions"))
        .and(body_json(json!({"type": "resize", "size": "s-2vcpu-2gb", "disk": false})))
        .respond_with(ResponseTemplate::new(201).set_body_json(action))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(query_param("tag_name", "toolplane:x"))
        .and(query_param("per_page", "200"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"droplets": [], "links": {}, "meta": {"total": 0}})))
        .expect(1)
        .mount(&server)
        .await;
    let client = client(&server);
    client
        .tag_resources_remove("toolplane:x", &[Resource::droplet(5)])
        .await
        .unwrap();
    let resize = DropletAction::Resize {
        size: "s-2vcpu-2gb".to_owned(),
        disk: false,
    };
    assert_eq!(client.droplet_action(5, &resize).await.unwrap().id, 3);
    client
        .droplet_list(&DropletFilter::Tag("toolplane:x".to_owned()))
        .await
        .unwrap();
}

#[tokio::test]
async fn unusable_settings_are_named() {
    let server = MockServer::start().await;
    let with = |url: &str, token: &str| {
        let mut config = config(&server);
        config.base_url = url.parse().unwrap();
        config.token = SecretString::from(token);
        Client::new(config).unwrap_err().to_string()
    };
    assert!(with("http://api.digitalocean.com", "t").starts_with("digitalocean_url"));
    assert!(with("ftp://127.0.0.1", "t").starts_with("digitalocean_url"));
    let error = with("https://api.digitalocean.com", "secret\n");
    assert!(
        error.starts_with("digitalocean_token") && !error.contains("secret"),
        "{error}"
    );
}
