//! Somebody else's hands on the cloud.

use crate::support::Story;
use digitalocean::{Budget, BudgetConfig, Client, DropletCreate, ImageRef};
use std::num::NonZeroU32;

/// The test's own hands on the cloud, with a budget of their own that is never short.
pub(crate) fn hands(story: &Story) -> Client {
    let plenty = NonZeroU32::new(1_000_000).unwrap();
    let budget = Budget::new(BudgetConfig {
        per_minute: plenty,
        per_hour: plenty,
        ..BudgetConfig::default()
    });
    let config = digitalocean::Config::new(story.simulator.base_url().clone(), "token".into());
    Client::new(digitalocean::Config { budget, ..config }).unwrap()
}

/// Makes a droplet with these tags.
pub(crate) async fn tagged(hands: &Client, tags: &[String]) -> u64 {
    let create = DropletCreate {
        name: "made-by-hand".to_owned(),
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-22-04-x64".to_owned()),
        tags: tags.to_vec(),
        user_data: None,
        vpc_uuid: None,
        ssh_keys: Vec::new(),
        monitoring: false,
        ipv6: false,
    };
    hands.droplet_create(&create).await.unwrap().droplet.id
}

/// A project beside the default one; the client makes none.
pub(crate) async fn project(story: &Story) -> String {
    let url = story.simulator.base_url().join("v2/projects").unwrap();
    let body = serde_json::json!({"name": "tools", "purpose": "tools"});
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(url)
        .bearer_auth("token")
        .json(&body);
    let answer: serde_json::Value = request
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap();
    answer["project"]["id"].as_str().unwrap().to_owned()
}

/// The droplets in a project.
pub(crate) async fn members(hands: &Client, project: &str) -> Vec<u64> {
    let listed = hands.project_resource_list(project).await.unwrap();
    listed
        .iter()
        .filter_map(|member| member.urn.strip_prefix("do:droplet:")?.parse().ok())
        .collect()
}
