//! `/v2/droplets`: lifecycle, shapes, lists.

use crate::bed::{Bed, plain, plain_body};
use digitalocean::{ActionStatus, DropletFilter, DropletStatus, Error};
use serde_json::{Value, json};
use std::collections::HashSet;

#[tokio::test]
async fn a_droplet_lives_and_dies() {
    let bed = Bed::new().await;
    let created = bed.client.droplet_create(&plain("one", &["a:b"])).await.unwrap();
    assert_eq!(created.droplet.status, DropletStatus::New);
    assert_eq!(created.droplet.public_ipv4(), None, "no address before it is active");
    let id = created.droplet.id;
    let active = bed
        .until("active", async || {
            let droplet = bed.client.droplet_get(id).await.unwrap();
            (droplet.status == DropletStatus::Active).then_some(droplet)
        })
        .await;
    let address = active.public_ipv4().unwrap();
    assert!(address.is_loopback() && address.octets()[1] != 0, "{address}");
    assert_eq!(
        bed.client.action_get(created.action.unwrap()).await.unwrap().status,
        ActionStatus::Completed
    );
    bed.client.droplet_delete(id).await.unwrap();
    bed.client.droplet_delete(id).await.ok();
    let gone = bed.until("gone", async || bed.client.droplet_get(id).await.err()).await;
    assert!(gone.is_not_found(), "{gone:?}");
    assert!(bed.client.droplet_list(&DropletFilter::All).await.unwrap().is_empty());
    bed.simulator.shutdown().await;
}

#[tokio::test]
async fn a_create_is_answered_with_every_promised_field() {
    let bed = Bed::new().await;
    let answer = bed.ask("POST", "/v2/droplets", plain_body("one")).await;
    assert_eq!(answer.status, 202);
    let droplet = &answer.body["droplet"];
    for field in [
        "id",
        "name",
        "memory",
        "vcpus",
        "disk",
        "locked",
        "status",
        "created_at",
        "features",
        "backup_ids",
        "next_backup_window",
        "snapshot_ids",
        "image",
        "volume_ids",
        "size",
        "size_slug",
        "networks",
        "region",
        "tags",
        "vpc_uuid",
    ] {
        assert!(droplet.get(field).is_some(), "{field}: {droplet}");
    }
    assert_eq!(droplet["networks"], json!({"v4": [], "v6": []}));
    let link = &answer.body["links"]["actions"][0];
    assert_eq!(link["rel"], "create");
    let href = bed.simulator.base_url().join(&format!("/v2/actions/{}", link["id"])).unwrap();
    assert_eq!(link["href"], href.as_str());
}

#[tokio::test]
async fn ten_droplets_can_be_made_at_once() {
    let bed = Bed::new().await;
    let mut body = plain_body("");
    body.as_object_mut().unwrap().remove("name");
    body["names"] = (0..10).map(|number| json!(format!("many-{number}"))).collect();
    let answer = bed.ask("POST", "/v2/droplets", body).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.body["droplets"].as_array().unwrap().len(), 10);
    assert_eq!(answer.body["links"]["actions"].as_array().unwrap().len(), 10);
    let addresses: HashSet<_> = bed.simulator.droplets().into_iter().map(|droplet| droplet.address).collect();
    assert_eq!(addresses.len(), 10);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let bed = Bed::new().await;
    for number in 0..25 {
        let tags: &[&str] = if number % 2 == 0 { &["even"] } else { &[] };
        bed.client
            .droplet_create(&plain(&format!("Te-{number}"), tags))
            .await
            .unwrap();
    }
    let page = bed.get("/v2/droplets").await;
    assert_eq!(page["droplets"].as_array().unwrap().len(), 20);
    assert_eq!(page["meta"], json!({"total": 25}));
    let next = page["links"]["pages"]["next"].as_str().unwrap().to_owned();
    let second = bed.get(&next).await;
    assert_eq!(second["droplets"].as_array().unwrap().len(), 5);
    assert!(second["links"]["pages"].get("next").is_none() && second["links"]["pages"]["prev"].is_string());
    let even = bed.client.droplet_list(&DropletFilter::Tag("even".to_owned())).await.unwrap();
    assert_eq!(even.len(), 13);
    let named = bed.get("/v2/droplets?name=te-7").await;
    assert_eq!(named["droplets"][0]["name"], "Te-7", "names are compared without case");
    assert_eq!(named["links"], json!({}));
    assert_eq!(bed.get("/v2/droplets?type=gpus").await["meta"]["total"], 0);
    assert_eq!(bed.get("/v2/droplets?tag_name=nobody").await["meta"]["total"], 0);
    assert_eq!(
        bed.ask("GET", "/v2/droplets?tag_name=even&name=x", Value::Null).await.status,
        422
    );
}

#[tokio::test]
async fn droplets_are_deleted_by_tag() {
    let bed = Bed::new().await;
    let mine = bed.active(&plain("mine", &["mine"])).await;
    let other = bed.active(&plain("other", &[])).await;
    assert_eq!(bed.ask("DELETE", "/v2/droplets?tag_name=mine", Value::Null).await.status, 204);
    bed.until("gone", async || bed.client.droplet_get(mine.id).await.err()).await;
    bed.client.droplet_get(other.id).await.unwrap();
    assert_eq!(
        bed.ask("DELETE", "/v2/droplets?tag_name=nobody", Value::Null).await.status,
        404
    );
    assert_eq!(bed.ask("DELETE", "/v2/droplets", Value::Null).await.status, 422);
}

#[tokio::test]
async fn requests_are_taken_as_real_clients_send_them() {
    let bed = Bed::new().await;
    let mut body = plain_body("nulls");
    for field in [
        "ssh_keys",
        "backups",
        "ipv6",
        "tags",
        "user_data",
        "vpc_uuid",
        "volumes",
        "monitoring",
    ] {
        body[field] = Value::Null;
    }
    body["a_field_of_tomorrow"] = json!(1);
    body["image"] = json!(155_133_621);
    let answer = bed.ask("POST", "/v2/droplets/", body).await;
    assert_eq!(
        answer.status, 202,
        "a slash at the end, nulls, an image by number: {answer:?}"
    );
    let id = answer.body["droplet"]["id"].as_u64().unwrap();
    assert_eq!(bed.ask("GET", "/v2/droplets/?per_page=1", json!({"a": 1})).await.status, 200);
    assert_eq!(bed.ask("DELETE", &format!("/v2/droplets/{id}/"), json!({})).await.status, 204);
    for path in ["/v2/droplets/1", "/v2/droplets/x", "/v2/nothing", "/"] {
        let answer = bed.ask("GET", path, Value::Null).await;
        assert_eq!((answer.status, &answer.body["id"]), (404, &json!("not_found")), "{path}");
    }
}

#[tokio::test]
async fn the_token_is_checked() {
    let bed = Bed::new().await;
    let answer = bed.ask_as("another", "GET", "/v2/account", Value::Null).await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.body["message"], "Unable to authenticate you.");
    let mut config = digitalocean::Config::new(bed.simulator.base_url().clone(), "another".into());
    config.read_attempts = 1;
    let error = digitalocean::Client::new(config).unwrap().account_get().await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
}

#[tokio::test]
async fn the_metadata_service_knows_the_droplet() {
    let bed = Bed::new().await;
    let mut create = plain("meta-1", &["a:b", "c"]);
    create.user_data = Some("#cloud-config\n".into());
    let droplet = bed.active(&create).await;
    let base = format!("/metadata/{}/v1", droplet.id);
    assert_eq!(bed.get(&format!("{base}/id")).await, json!(droplet.id));
    assert_eq!(bed.get(&format!("{base}/hostname")).await, "meta-1");
    assert_eq!(bed.get(&format!("{base}/user-data")).await, "#cloud-config\n");
    assert_eq!(bed.get(&format!("{base}/tags/")).await, "a:b\nc");
    let address = bed.get(&format!("{base}/interfaces/public/0/ipv4/address")).await;
    assert_eq!(address, json!(droplet.public_ipv4().unwrap()));
    assert_eq!(bed.get(&format!("{base}.json")).await["droplet_id"], droplet.id);
    assert!(bed.get(&format!("{base}/")).await.as_str().unwrap().contains("interfaces/"));
    assert_eq!(bed.ask("GET", &format!("{base}/nothing"), Value::Null).await.status, 404);
}
