//! What creates are refused for, in the words of the real thing.

use crate::bed::{Bed, plain, plain_body};
use digitalocean::{Class, Error, Refusal};
use serde_json::{Value, json};

#[tokio::test]
async fn creates_are_refused_in_the_words_of_the_real_thing() {
    let bed = Bed::new().await;
    let hostname = "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)";
    let eleven: Value = (0..11).map(|number| json!(format!("n-{number}"))).collect();
    for (field, value, message) in [
        ("name", json!("under_score"), hostname),
        ("name", json!("ends-with-"), hostname),
        ("name", json!(""), "Name can't be blank"),
        ("name", json!("a".repeat(256)), "Name is too long (maximum is 255 characters)"),
        (
            "names",
            json!(["both"]),
            "You specified both name and names for Droplet creation.",
        ),
        (
            "image",
            json!("no-such-image"),
            "You specified an invalid image for Droplet creation.",
        ),
        ("image", json!(7), "You specified an invalid image for Droplet creation."),
        ("image", Value::Null, "You specified an invalid image for Droplet creation."),
        ("size", json!("huge"), "You specified an invalid size for Droplet creation."),
        (
            "region",
            json!("moon1"),
            "You specified an invalid region for Droplet creation.",
        ),
        ("region", json!("nyc2"), "Region is not available"),
        ("vpc_uuid", json!("x"), "The VPC could not be found in this region."),
        (
            "user_data",
            json!("x".repeat(65 * 1024)),
            "User data is too long (maximum is 64 KiB)",
        ),
        ("tags", json!(["a b"]), "Tag \"a b\" contains invalid characters"),
        (
            "ssh_keys",
            json!([42]),
            "42 are invalid key identifiers for Droplet creation.",
        ),
    ] {
        let mut body = plain_body("fine");
        body[field] = value;
        let answer = bed.ask("POST", "/v2/droplets", body).await;
        assert_eq!(
            (answer.status, answer.body["id"].as_str()),
            (422, Some("unprocessable_entity")),
            "{field}"
        );
        assert_eq!(answer.body["message"], message);
    }
    let mut many = plain_body("");
    many["name"] = Value::Null;
    many["names"] = eleven;
    assert_eq!(bed.ask("POST", "/v2/droplets", many).await.status, 422);
    assert_eq!(bed.ask("POST", "/v2/droplets", json!("no object")).await.status, 400);
    assert!(bed.simulator.droplets().is_empty(), "a refused request changes nothing");
    assert_eq!(bed.get("/v2/tags").await["meta"]["total"], 0);
}

#[tokio::test]
async fn the_droplet_limit_is_the_accounts() {
    let bed = Bed::with(|config| config.settings.droplet_limit = 1).await;
    assert_eq!(bed.client.account_get().await.unwrap().droplet_limit, 1);
    bed.client.droplet_create(&plain("one", &[])).await.unwrap();
    let error = bed.client.droplet_create(&plain("two", &[])).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                refusal: Refusal::DropletLimit,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(matches!(error.class(), Class::Retriable { .. }));
}

#[tokio::test]
async fn our_client_names_the_field_of_a_refusal() {
    let bed = Bed::new().await;
    let mut wrong = plain("x", &[]);
    wrong.region = "moon1".to_owned();
    let error = bed.client.droplet_create(&wrong).await.unwrap_err();
    let named = matches!(
        error,
        Error::Refused {
            refusal: Refusal::Invalid { field: Some("region") },
            ..
        }
    );
    assert!(named, "{error:?}");
    assert_eq!(error.class(), Class::Terminal);
}
