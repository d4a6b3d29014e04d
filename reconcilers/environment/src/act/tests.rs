//! The last look at the tags before a delete, against DigitalOcean's simulator.

use super::delete_ours;
use digitalocean::{Client, DropletCreate, ImageRef};
use model::{DropletId, EnvironmentId, InstallationId, tags};
use simulator::{Handle, Simulator};

async fn cloud(state: &tempfile::TempDir) -> (Handle, Client) {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let config = simulator::Config::new("token".into(), state.path());
    let simulator = Simulator::start(config).await.unwrap();
    simulator.configure(|settings| {
        settings.boot_agents = false;
        settings.delete_ms = 0;
    });
    let config = digitalocean::Config::new(simulator.base_url().clone(), "token".into());
    (simulator, Client::new(config).unwrap())
}

async fn droplet(client: &Client, tags: Vec<String>) -> DropletId {
    let create = DropletCreate {
        name: "somebody-s".to_owned(),
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-22-04-x64".to_owned()),
        tags,
        user_data: None,
        vpc_uuid: None,
        ssh_keys: Vec::new(),
        monitoring: false,
        ipv6: false,
    };
    DropletId(client.droplet_create(&create).await.unwrap().droplet.id)
}

/// What a list said before does not count: the tags of the moment do.
#[tokio::test]
async fn only_what_carries_our_tags_at_this_moment_is_deleted() {
    let state = tempfile::tempdir().unwrap();
    let (simulator, client) = cloud(&state).await;
    let ours: InstallationId = "ours".parse().unwrap();
    let (id, all) = (EnvironmentId::random(), tags::TOOLPLANE.to_owned());
    let marked = |installation: &InstallationId, environment| {
        vec![all.clone(), tags::installation(installation), tags::environment(environment)]
    };
    for foreign in [
        Vec::new(),
        vec![all.clone(), tags::installation(&ours)],
        vec![all.clone(), tags::environment(id)],
        marked(&"other".parse().unwrap(), id),
        marked(&ours, EnvironmentId::random()),
    ] {
        let droplet = droplet(&client, foreign.clone()).await;
        let refused = delete_ours(&client, &ours, id, droplet).await.unwrap_err();
        assert_eq!(refused.reason(), "TagsMissing", "{foreign:?}");
        assert!(client.droplet_get(droplet.0).await.is_ok(), "{foreign:?}");
    }
    let own = droplet(&client, marked(&ours, id)).await;
    assert!(delete_ours(&client, &ours, id, own).await.unwrap());
    assert!(!delete_ours(&client, &ours, id, DropletId(999_999_999)).await.unwrap());
    simulator.shutdown().await;
}
