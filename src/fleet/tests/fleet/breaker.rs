//! Lists that are not believed, and what makes sure.

use crate::bed::{Bed, Replica, until};
use fleet::Trust;
use runtime::Observation;
use simulator::{Fault, FaultRule, PageFlaw};

fn flawed(flaw: PageFlaw) -> FaultRule {
    FaultRule::new(Fault::Page { flaw }).on("GET", "/v2/droplets").always()
}

fn is_withheld(replica: &Replica, bed: &Bed) -> bool {
    let others = replica.others(bed);
    let withheld = others
        .iter()
        .all(|sighting| sighting.droplets == Observation::Unknown && matches!(sighting.trust, Trust::Withheld { .. }));
    !others.is_empty() && withheld
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_list_is_not_believed_while_those_that_it_lacks_are_there() {
    let bed = Bed::new(10).await;
    let replica = bed.replica().await;
    until("seen", async || replica.present(&bed) == 10).await;
    bed.simulator.fault(flawed(PageFlaw::HalfTheList));
    until("withheld", async || is_withheld(&replica, &bed)).await;
    assert_eq!(replica.present(&bed), 5, "what the list does show is still there");
    let Trust::Withheld { reason, .. } = replica.others(&bed)[0].trust.clone() else {
        panic!("trusted");
    };
    assert!(
        reason.starts_with("5 of 10 droplets are missing from the list of "),
        "{reason}"
    );
    bed.more_sweeps(5).await;
    assert!(is_withheld(&replica, &bed), "a GET says that the list lies");
    assert!(bed.reads("GET /v2/droplets/{id}") > 0);
    bed.simulator.calm();
    until("believed again", async || replica.present(&bed) == 10).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_is_believed_only_once_each_was_asked_for() {
    let bed = Bed::new(6).await;
    let replica = bed.replica().await;
    until("seen", async || replica.present(&bed) == 6).await;
    for droplet in bed.droplets.values() {
        bed.simulator.destroy(*droplet).await;
    }
    until("gone", async || {
        let others = replica.others(&bed);
        others.len() == 6
            && others
                .iter()
                .all(|sighting| sighting.droplets == Observation::Absent && sighting.trust == Trust::Trusted)
    })
    .await;
    assert!(bed.reads("GET /v2/droplets/{id}") >= 12, "each twice");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_list_takes_nothing_away() {
    let bed = Bed::new(4).await;
    let replica = bed.replica().await;
    until("seen", async || replica.present(&bed) == 4).await;
    bed.simulator.fault(flawed(PageFlaw::ElementsMissing));
    until("withheld", async || {
        bed.sql("select count(withheld_since) from fleet_sweeps where kind = 'droplets'")
            .await
            == "1"
    })
    .await;
    assert_eq!(replica.present(&bed), 4);
    let stranger = bed.environment().await;
    until("told to the replica", async || {
        matches!(replica.fleet.sighting(stranger).trust, Trust::Withheld { .. })
    })
    .await;
    bed.simulator.calm();
    until("believed again", async || {
        replica.fleet.sighting(stranger).trust == Trust::Trusted
    })
    .await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_knows_better() {
    let bed = Bed::new(10).await;
    let replica = bed.replica().await;
    until("seen", async || replica.present(&bed) == 10).await;
    bed.simulator.fault(flawed(PageFlaw::EmptyList));
    until("withheld", async || is_withheld(&replica, &bed) && replica.present(&bed) == 0).await;
    bed.sql("set role service_role; update fleet_sweeps set confirmed_at = clock_timestamp() where kind = 'droplets'")
        .await;
    until("believed", async || {
        let others = replica.others(&bed);
        others.len() == 10
            && others
                .iter()
                .all(|sighting| sighting.droplets == Observation::Absent && sighting.trust == Trust::Trusted)
    })
    .await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_users_delete_is_not_missed() {
    let bed = Bed::new(6).await;
    let replica = bed.replica().await;
    until("seen", async || replica.present(&bed) == 6).await;
    bed.sql("update account_tool_environments set desired_state = 'deleted'")
        .await;
    for droplet in bed.droplets.values() {
        bed.client.droplet_delete(*droplet).await.unwrap();
    }
    until("gone", async || {
        let others = replica.others(&bed);
        others.len() == 6 && others.iter().all(|sighting| sighting.droplets == Observation::Absent)
    })
    .await;
    let sweeps = bed.sql("select count(withheld_since) from fleet_sweeps").await;
    assert_eq!((sweeps.as_str(), bed.reads("GET /v2/droplets/{id}")), ("0", 0));
    bed.end().await;
}

/// Nobody but its own environment can give the tags back, and has to see it for that.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_droplet_is_seen_also_without_its_tags_and_gone_once_it_is() {
    let bed = Bed::new(1).await;
    let replica = bed.replica().await;
    until("seen", async || replica.present(&bed) == 1).await;
    let (environment, droplet) = bed.droplets.first_key_value().map(|(id, droplet)| (*id, *droplet)).unwrap();
    let resource = [digitalocean::Resource::droplet(droplet)];
    let tag = model::tags::environment(environment);
    bed.client.tag_resources_remove(&tag, &resource).await.unwrap();
    until("seen without its tag", async || {
        match replica.fleet.sighting(environment).droplets {
            Observation::Present(droplets) => !droplets[0].ours,
            Observation::Unknown | Observation::Absent => false,
        }
    })
    .await;
    bed.more_sweeps(3).await;
    let sighting = replica.fleet.sighting(environment);
    assert!(matches!(sighting.droplets, Observation::Present(_)), "{sighting:?}");
    assert_eq!(sighting.trust, Trust::Trusted, "the list lacks nothing that could be in it");

    bed.simulator.destroy(droplet).await;
    until("gone", async || {
        let sighting = replica.fleet.sighting(environment);
        sighting.droplets == Observation::Absent && sighting.trust == Trust::Trusted
    })
    .await;
    bed.end().await;
}
