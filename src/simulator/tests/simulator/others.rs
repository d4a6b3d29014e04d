//! Tags, projects, and what droplets can be made of.

use crate::bed::{Bed, plain};
use digitalocean::{ImageFilter, Resource};
use serde_json::{Value, json};

#[tokio::test]
async fn tags_come_and_go() {
    let bed = Bed::new().await;
    let (client, name) = (&bed.client, "toolplane:environment:x");
    client.tag_create(name).await.unwrap();
    client.tag_create(name).await.unwrap();
    let droplet = bed.active(&plain("one", &[])).await.id;
    client.tag_resources_add(name, &[Resource::droplet(droplet)]).await.unwrap();
    assert!(client.droplet_get(droplet).await.unwrap().has_tag(name));
    let tag = bed.get(&format!("/v2/tags/{name}")).await;
    assert_eq!(tag["tag"]["resources"]["droplets"]["count"], 1);
    client
        .tag_resources_remove(name, &[Resource::droplet(droplet)])
        .await
        .unwrap();
    assert!(!client.droplet_get(droplet).await.unwrap().has_tag(name));
    assert!(
        client
            .tag_resources_add(name, &[Resource::droplet(1)])
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        client
            .tag_resources_add("nobody", &[Resource::droplet(droplet)])
            .await
            .unwrap_err()
            .is_not_found()
    );
    client.tag_delete(name).await.unwrap();
    assert!(client.tag_list().await.unwrap().is_empty());
    assert!(client.tag_delete(name).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_bad_tag_has_the_other_error_body() {
    let bed = Bed::new().await;
    let answer = bed.ask("POST", "/v2/tags", json!({"name": "a b"})).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body["error"].as_str().unwrap().contains("contains invalid characters"));
    assert!(answer.body["messages"].is_null() && answer.body["root_causes"].is_array());
    assert!(
        bed.client
            .tag_create("a b")
            .await
            .unwrap_err()
            .to_string()
            .contains("invalid characters")
    );
}

#[tokio::test]
async fn resources_are_assigned_to_projects() {
    let bed = Bed::new().await;
    let droplet = bed.active(&plain("one", &[])).await.id;
    let default = bed.client.project_default().await.unwrap();
    let urn = format!("do:droplet:{droplet}");
    let listed = bed.client.project_resource_list(&default.id).await.unwrap();
    assert_eq!(
        listed.iter().map(|resource| resource.urn.as_str()).collect::<Vec<_>>(),
        [urn.as_str()]
    );
    let made = bed
        .ask("POST", "/v2/projects", json!({"name": "tools", "purpose": "Web Application"}))
        .await;
    assert_eq!(made.status, 201);
    let project = made.body["project"]["id"].as_str().unwrap().to_owned();
    let urns = [urn.clone(), "do:droplet:1".to_owned()];
    for expected in ["assigned", "already_assigned"] {
        let outcomes = bed.client.project_resources_assign(&project, &urns).await.unwrap();
        assert_eq!(
            (outcomes[0].status.as_str(), outcomes[1].status.as_str()),
            (expected, "not_found")
        );
        assert!(outcomes[0].is_assigned() && !outcomes[1].is_assigned());
    }
    assert!(bed.client.project_resource_list(&default.id).await.unwrap().is_empty());
    let refused = bed
        .client
        .project_resources_assign(&project, &["do:firewall:x".to_owned()])
        .await;
    assert!(
        refused.unwrap_err().to_string().contains("do:firewall:x"),
        "firewalls belong to no project"
    );
    assert_eq!(
        bed.ask("DELETE", &format!("/v2/projects/{project}"), Value::Null)
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn the_catalog_is_there() {
    let bed = Bed::new().await;
    let sizes = bed.client.size_list().await.unwrap();
    let smallest = sizes.iter().find(|size| size.slug == "s-1vcpu-512mb-10gb").unwrap();
    assert!(
        !smallest.regions.contains(&"syd1".to_owned()),
        "not every region offers every size"
    );
    let regions = bed.client.region_list().await.unwrap();
    assert!(
        regions.iter().any(|region| !region.available),
        "not every region takes droplets"
    );
    let images = bed.client.image_list(ImageFilter::Distribution).await.unwrap();
    for slug in ["ubuntu-22-04-x64", "ubuntu-24-04-x64"] {
        assert!(images.iter().any(|image| image.slug.as_deref() == Some(slug)), "{slug}");
    }
    assert!(bed.client.image_list(ImageFilter::Private).await.unwrap().is_empty());
    assert_eq!(
        bed.get("/v2/account/keys").await,
        json!({"ssh_keys": [], "links": {}, "meta": {"total": 0}})
    );
    let vpc = &bed.get("/v2/vpcs").await["vpcs"][0];
    assert_eq!(vpc["default"], true);
    assert_eq!(
        &bed.get(&format!("/v2/vpcs/{}", vpc["id"].as_str().unwrap())).await["vpc"],
        vpc
    );
}
