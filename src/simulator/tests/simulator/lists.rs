//! Lists that lag, and lists that lie.

use crate::bed::{Bed, TOKEN, plain};
use digitalocean::{Client, DropletFilter, DropletStatus, Error, FirewallSpec, InboundRule, Peers, Ports, Protocol, Resource};
use serde_json::json;
use simulator::{DropletSeed, Fault, FaultRule, PageFlaw};

const LIST: (&str, &str) = ("GET", "/v2/droplets");

fn flaw(flaw: PageFlaw) -> FaultRule {
    FaultRule::next(LIST.0, LIST.1, Fault::Page { flaw })
}

async fn ids(client: &Client) -> Vec<u64> {
    let listed = client.droplet_list(&DropletFilter::All).await.unwrap();
    listed.iter().map(|droplet| droplet.id).collect()
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
    let id = bed.simulator.seed_droplets(1, |_| DropletSeed::new("one", ["t"])).unwrap()[0];
    bed.simulator.destroy(id).await;
    assert!(ids(&bed.client).await.is_empty());
    bed.simulator.configure(|settings| settings.list_lag_ms = 600_000);
    assert_eq!(ids(&bed.client).await, [id]);
    assert!(bed.client.droplet_get(id).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn lists_lag_behind_every_change() {
    let bed = Bed::new().await;
    let id = bed.active(&plain("one", &[])).await.id;
    bed.client.tag_create("t").await.unwrap();
    bed.client.tag_resources_add("t", &[Resource::droplet(id)]).await.unwrap();
    let tagged = DropletFilter::Tag("t".to_owned());
    assert_eq!(bed.client.droplet_list(&tagged).await.unwrap().len(), 1);
    // Nothing is older than the lag: the list is from before everything.
    bed.simulator.configure(|settings| settings.list_lag_ms = 60_000);
    assert!(bed.client.droplet_list(&tagged).await.unwrap().is_empty());
    assert!(ids(&bed.client).await.is_empty());
    bed.simulator.configure(|settings| settings.list_lag_ms = 0);
    assert_eq!(ids(&bed.client).await, [id]);
}

#[tokio::test]
async fn a_stale_page_shows_what_was_there_a_while_ago() {
    let bed = Bed::new().await;
    let [id] = bed.simulator.seed_droplets(1, |_| DropletSeed::new("old", ["t"])).unwrap()[..] else {
        panic!("one droplet")
    };
    let young = bed.active(&plain("young", &[])).await.id;
    let power_off = digitalocean::DropletAction::PowerOff;
    bed.client.droplet_action(id, &power_off).await.unwrap();
    bed.until("off", async || {
        let droplet = bed.client.droplet_get(id).await.unwrap();
        (droplet.status == DropletStatus::Off).then_some(())
    })
    .await;
    bed.client.tag_resources_remove("t", &[Resource::droplet(id)]).await.unwrap();
    bed.simulator
        .fault(FaultRule::next(LIST.0, LIST.1, Fault::Stale { ms: 600_000 }));
    let stale = bed.client.droplet_list(&DropletFilter::All).await.unwrap();
    assert_eq!(stale.len(), 1, "the young one was not there yet");
    assert_eq!((stale[0].id, stale[0].status), (id, DropletStatus::Active));
    assert!(stale[0].has_tag("t"));
    assert_eq!(ids(&bed.client).await, [id, young], "the next list is fresh");
}

#[tokio::test]
async fn lists_of_firewalls_lag_and_are_stale_too() {
    let bed = Bed::new().await;
    let spec = |port| FirewallSpec {
        name: "fw".to_owned(),
        inbound_rules: vec![InboundRule {
            protocol: Protocol::Tcp,
            ports: Ports::One(port),
            sources: Peers {
                addresses: vec!["0.0.0.0/0".to_owned()],
                ..Peers::default()
            },
        }],
        ..FirewallSpec::default()
    };
    let id = bed.client.firewall_create(&spec(80)).await.unwrap().id;
    bed.client.firewall_update(&id, &spec(81)).await.unwrap();
    assert_eq!(bed.client.firewall_list().await.unwrap()[0].spec, spec(81));
    bed.simulator
        .fault(FaultRule::next("GET", "/v2/firewalls", Fault::Stale { ms: 600_000 }));
    assert!(bed.client.firewall_list().await.unwrap().is_empty());
    bed.client.firewall_delete(&id).await.unwrap();
    bed.simulator.configure(|settings| settings.firewall_list_lag_ms = 600_000);
    assert!(bed.client.firewall_list().await.unwrap().is_empty(), "from before its create");
    assert!(bed.client.firewall_get(&id).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_truncated_list_is_read_again_or_not_believed() {
    let bed = Bed::new().await;
    let seeded = bed
        .simulator
        .seed_droplets(450, |number| DropletSeed::new(format!("d-{number}"), ["t"]))
        .unwrap();
    bed.simulator.fault(flaw(PageFlaw::ElementsMissing));
    assert_eq!(ids(&bed.client).await, seeded, "one bad page is made up for");
    let mut config = digitalocean::Config::new(bed.simulator.base_url().clone(), TOKEN.into());
    config.read_attempts = 1;
    let client = Client::new(config).unwrap();
    for told in [PageFlaw::ElementsMissing, PageFlaw::NextMissing, PageFlaw::EmptyPage] {
        bed.simulator.fault(flaw(told));
        let error = client.droplet_list(&DropletFilter::All).await.unwrap_err();
        assert!(matches!(error, Error::Incomplete { .. }), "{told:?}: {error:?}");
    }
}

#[tokio::test]
async fn some_lies_look_like_the_truth() {
    let bed = Bed::new().await;
    let seeded = bed
        .simulator
        .seed_droplets(450, |number| DropletSeed::new(format!("d-{number}"), ["t"]))
        .unwrap();
    bed.simulator.fault(flaw(PageFlaw::HalfTheList).always());
    assert_eq!(
        ids(&bed.client).await,
        seeded[..225],
        "a smaller total, and pages that agree with it"
    );
    bed.simulator.calm();
    bed.simulator.fault(flaw(PageFlaw::EmptyList));
    assert!(ids(&bed.client).await.is_empty());
    assert_eq!(bed.get("/v2/droplets").await["meta"], json!({"total": 450}));
    assert_eq!(bed.simulator.counts().faults["page"], 3);
}
