//! What a request brings about, when it is not what was asked for, or comes late.

use crate::bed::{Bed, plain};
use digitalocean::{ActionStatus, DropletAction, DropletFilter, DropletStatus, FirewallSpec, FirewallStatus};
use digitalocean::{InboundRule, Peers, Ports, Protocol};
use simulator::{Fault, FaultRule, What};

/// Longer than any test takes.
const FOR_EVER: u64 = 600_000;

#[tokio::test]
async fn a_droplet_that_was_accepted_never_exists_and_its_action_has_failed() {
    let bed = Bed::new().await;
    bed.simulator.fault(FaultRule::new(Fault::Vanish { after_ms: 0 }));
    let created = bed.client.droplet_create(&plain("one", &["t"])).await.unwrap();
    assert!(bed.client.droplet_get(created.droplet.id).await.unwrap_err().is_not_found());
    assert!(bed.client.droplet_list(&DropletFilter::All).await.unwrap().is_empty());
    let action = created.action.unwrap();
    bed.until("the action's end", async || {
        let action = bed.client.action_get(action).await.unwrap();
        (action.status == ActionStatus::Errored).then_some(())
    })
    .await;
    assert!(bed.simulator.droplets().is_empty());
    let told = bed.simulator.journal(0).into_iter().map(|entry| entry.what);
    assert!(told.into_iter().any(|what| what
        == What::Vanished {
            droplet: created.droplet.id
        }));
    bed.simulator.configure(|settings| settings.list_lag_ms = FOR_EVER);
    assert!(
        bed.client.droplet_list(&DropletFilter::All).await.unwrap().is_empty(),
        "lists that lag never saw it either"
    );
}

#[tokio::test]
async fn a_droplet_that_was_accepted_vanishes_after_it_was_seen() {
    let bed = Bed::new().await;
    bed.simulator.fault(FaultRule::new(Fault::Vanish { after_ms: FOR_EVER }));
    let seen = bed.client.droplet_create(&plain("one", &[])).await.unwrap().droplet.id;
    bed.active(&plain("two", &[])).await;
    assert_eq!(
        bed.client.droplet_get(seen).await.unwrap().status,
        DropletStatus::New,
        "it never becomes active"
    );
    bed.simulator.fault(FaultRule::new(Fault::Vanish { after_ms: 100 }));
    let id = bed.client.droplet_create(&plain("three", &[])).await.unwrap().droplet.id;
    bed.until("gone", async || bed.client.droplet_get(id).await.err()).await;
}

#[tokio::test]
async fn a_get_after_a_create_is_a_404_for_a_while() {
    let bed = Bed::new().await;
    bed.simulator.fault(FaultRule::new(Fault::Hide { ms: FOR_EVER }));
    let id = bed.client.droplet_create(&plain("one", &[])).await.unwrap().droplet.id;
    let other = bed.active(&plain("two", &[])).await.id;
    assert!(bed.client.droplet_get(id).await.unwrap_err().is_not_found());
    let listed = bed.client.droplet_list(&DropletFilter::All).await.unwrap();
    assert_eq!(listed.iter().map(|droplet| droplet.id).collect::<Vec<_>>(), [other]);
    bed.simulator.fault(FaultRule::new(Fault::Hide { ms: 100 }));
    let id = bed.client.droplet_create(&plain("three", &[])).await.unwrap().droplet.id;
    bed.until("seen", async || bed.client.droplet_get(id).await.ok()).await;
}

#[tokio::test]
async fn a_droplet_is_active_and_has_no_address_yet() {
    let bed = Bed::new().await;
    bed.simulator.fault(FaultRule::new(Fault::Addressless { ms: FOR_EVER }));
    assert_eq!(bed.active(&plain("one", &[])).await.public_ipv4(), None);
    bed.simulator.configure(|settings| settings.addressless_ms = FOR_EVER);
    assert_eq!(bed.active(&plain("two", &[])).await.public_ipv4(), None, "by the settings");
    bed.simulator.fault(FaultRule::new(Fault::Addressless { ms: 100 }));
    let id = bed.active(&plain("three", &[])).await.id;
    bed.until("its address", async || {
        bed.client.droplet_get(id).await.unwrap().public_ipv4()
    })
    .await;
}

#[tokio::test]
async fn a_delete_is_answered_with_204_and_the_droplet_lives_on() {
    let bed = Bed::new().await;
    let (id, other) = (
        bed.active(&plain("one", &[])).await.id,
        bed.active(&plain("two", &[])).await.id,
    );
    bed.simulator.fault(FaultRule::new(Fault::Farewell { ms: FOR_EVER }));
    bed.client.droplet_delete(id).await.unwrap();
    bed.client.droplet_delete(other).await.unwrap();
    bed.until("the other one's end", async || bed.client.droplet_get(other).await.err())
        .await;
    let farewell = bed.client.droplet_get(id).await.unwrap();
    assert_eq!((farewell.status, farewell.locked), (DropletStatus::Active, true));
    assert_eq!(bed.client.droplet_list(&DropletFilter::All).await.unwrap().len(), 1);
    let refused = bed.client.droplet_action(id, &DropletAction::PowerOff).await.unwrap_err();
    assert!(refused.to_string().contains("pending event"), "{refused}");
}

#[tokio::test]
async fn an_action_takes_long_or_fails() {
    let bed = Bed::new().await;
    let id = bed.active(&plain("one", &[])).await.id;
    bed.simulator.fault(FaultRule::new(Fault::ActionErrored));
    let action = bed.client.droplet_action(id, &DropletAction::PowerOff).await.unwrap();
    assert_eq!(action.status, ActionStatus::InProgress, "it is accepted");
    bed.until("its end", async || {
        let action = bed.client.action_get(action.id).await.unwrap();
        (action.status == ActionStatus::Errored).then_some(())
    })
    .await;
    let droplet = bed.client.droplet_get(id).await.unwrap();
    assert_eq!(
        (droplet.status, droplet.locked),
        (DropletStatus::Active, false),
        "nothing was done"
    );

    bed.simulator.fault(FaultRule::new(Fault::SlowAction { ms: FOR_EVER }));
    let action = bed.client.droplet_action(id, &DropletAction::PowerOff).await.unwrap();
    assert!(bed.client.droplet_get(id).await.unwrap().locked);
    assert_eq!(
        bed.client.action_get(action.id).await.unwrap().status,
        ActionStatus::InProgress
    );
}

#[tokio::test]
async fn a_firewall_stays_waiting() {
    let bed = Bed::new().await;
    let droplet = bed.active(&plain("one", &["t"])).await.id;
    let spec = FirewallSpec {
        name: "fw".to_owned(),
        inbound_rules: vec![InboundRule {
            protocol: Protocol::Tcp,
            ports: Ports::One(22),
            sources: Peers {
                addresses: vec!["0.0.0.0/0".to_owned()],
                ..Peers::default()
            },
        }],
        tags: vec!["t".to_owned()],
        ..FirewallSpec::default()
    };
    let in_force = async |id: &str| {
        bed.until("in force", async || {
            let firewall = bed.client.firewall_get(id).await.unwrap();
            (firewall.status == FirewallStatus::Succeeded).then_some(())
        })
        .await;
    };
    bed.simulator.fault(FaultRule::new(Fault::FirewallWaits { ms: FOR_EVER }));
    let id = bed.client.firewall_create(&spec).await.unwrap().id;
    let mut usual = spec.clone();
    "usual".clone_into(&mut usual.name);
    in_force(&bed.client.firewall_create(&usual).await.unwrap().id).await;
    let waiting = bed.client.firewall_get(&id).await.unwrap();
    assert_eq!(waiting.status, FirewallStatus::Waiting, "although a later one is in force");
    assert_eq!(waiting.pending_changes[0].droplet_id, droplet);
    bed.simulator.fault(FaultRule::new(Fault::FirewallWaits { ms: 100 }));
    bed.client.firewall_update(&id, &spec).await.unwrap();
    in_force(&id).await;
}
