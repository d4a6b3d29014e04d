//! Fresh reads of firewalls: by the id where it is known, and never "absent" by one word alone.

use crate::bed::{Bed, installation};
use digitalocean::{Firewall, FirewallSpec, OutboundRule, Peers, Ports, Protocol};
use fleet::{FirewallLooks, Firewalls, Need, firewalls::Observed, names};
use model::{EnvironmentId, InstallationId};
use runtime::{Clock, Observation, SharedClock};

const LIST: &str = "GET /v2/firewalls";
const GET: &str = "GET /v2/firewalls/{id}";

fn name() -> String {
    let installation: InstallationId = installation();
    names::environment(&installation, EnvironmentId::random())
}

async fn create(bed: &Bed, name: &str) -> Firewall {
    let spec = FirewallSpec {
        name: name.to_owned(),
        droplet_ids: bed.droplets.values().copied().collect(),
        outbound_rules: vec![OutboundRule {
            protocol: Protocol::Icmp,
            ports: Ports::All,
            destinations: Peers {
                addresses: vec!["0.0.0.0/0".to_owned()],
                ..Peers::default()
            },
        }],
        ..FirewallSpec::default()
    };
    bed.client.firewall_create(&spec).await.unwrap()
}

fn looks(bed: &Bed) -> (FirewallLooks, Firewalls) {
    let firewalls = Firewalls::new(installation());
    let looks = FirewallLooks::new(bed.client.clone(), firewalls.clone(), SharedClock::default());
    (looks, firewalls)
}

fn id(observed: &Observed) -> Option<&str> {
    match &observed.firewall {
        Observation::Present(known) => Some(&known.id),
        Observation::Unknown | Observation::Absent => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_id_is_known_is_asked_for_by_it() {
    let bed = Bed::new(1).await;
    let (name, (looks, _)) = (name(), looks(&bed));
    let made = create(&bed, &name).await;
    let read = looks.read(&name, Some(&made.id), Need::Exact).await.unwrap();
    assert_eq!((id(&read), bed.reads(LIST), bed.reads(GET)), (Some(&*made.id), 0, 1));
    let again = looks.observe(&name, Some(&made.id), Need::Recent).await.unwrap();
    assert_eq!(
        (id(&again), bed.reads(GET)),
        (Some(&*made.id), 1),
        "what was read a moment ago serves"
    );
    looks.observe(&name, Some(&made.id), Need::Exact).await.unwrap();
    assert_eq!(bed.reads(GET), 2, "but not as the last word");
    bed.end().await;
}

/// Names are unique: whoever makes one of that name is told that it is there, and has to find it.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_another_id_now_is_found_by_its_name() {
    for need in [Need::Swept, Need::Recent, Need::Exact] {
        let bed = Bed::new(1).await;
        let (name, (looks, _)) = (name(), looks(&bed));
        let before = create(&bed, &name).await;
        bed.client.firewall_delete(&before.id).await.unwrap();
        let made = create(&bed, &name).await;
        let read = looks.read(&name, Some(&before.id), need).await.unwrap();
        assert_eq!(id(&read), Some(&*made.id), "{need:?}");
        bed.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_somebody_renamed_is_not_ours_any_more() {
    let bed = Bed::new(1).await;
    let (name, (looks, firewalls)) = (name(), looks(&bed));
    let made = create(&bed, &name).await;
    looks.read(&name, Some(&made.id), Need::Exact).await.unwrap();
    let renamed = FirewallSpec {
        name: "theirs".to_owned(),
        ..made.spec
    };
    bed.client.firewall_update(&made.id, &renamed).await.unwrap();
    let read = looks.read(&name, Some(&made.id), Need::Exact).await.unwrap();
    assert_eq!((read.firewall, bed.reads(LIST)), (Observation::Absent, 1));
    assert_eq!(firewalls.observed(&name).firewall, Observation::Absent);
    bed.end().await;
}

/// A list may lack what is there, and brings along what nobody asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_list_for_many_lacks_is_asked_for_by_its_id() {
    let bed = Bed::new(1).await;
    let (looks, firewalls) = looks(&bed);
    let (hidden, stranger, known) = (name(), name(), name());
    let made = create(&bed, &hidden).await;
    let (passed, unknown) = (create(&bed, &known).await, create(&bed, &stranger).await);
    firewalls.learn(&known, Some(passed.clone()), SharedClock::default().now());
    // Whoever has no id takes a list, and who comes along is served by it. There, this one has another name for the moment.
    let renamed = FirewallSpec {
        name: "theirs".to_owned(),
        ..made.spec.clone()
    };
    bed.client.firewall_update(&made.id, &renamed).await.unwrap();
    let nobody = name();
    let (first, second, third) = tokio::join!(
        looks.read(&nobody, None, Need::Recent),
        looks.read(&nobody, None, Need::Recent),
        looks.read(&hidden, Some(&made.id), Need::Recent),
    );
    assert_eq!(first.unwrap().firewall, Observation::Absent);
    assert_eq!(second.unwrap().firewall, Observation::Absent);
    assert_eq!(third.unwrap().firewall, Observation::Absent);
    assert_eq!(bed.reads(GET), 1, "absent is said by the list and by the id");
    assert_eq!(
        firewalls.observed(&unknown.spec.name).firewall,
        Observation::Unknown,
        "nobody asked"
    );
    assert!(matches!(
        firewalls.observed(&passed.spec.name).firewall,
        Observation::Present(_)
    ));
    bed.end().await;
}
