//! One sweep for all replicas, which writes what is different.

use crate::bed::{Bed, LIST, installation, until};
use fleet::{Trust, names};
use futures::{FutureExt, StreamExt};
use runtime::Observation;
use schema::{FleetKind, SWEEPING_SHARD};
use simulator::{Fault, FaultRule};
use std::{pin::pin, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_see_everything_and_list_it_once() {
    let bed = Bed::new(12).await;
    let (one, other) = (bed.replica().await, bed.replica().await);
    until("seen by both", async || one.present(&bed) + other.present(&bed) == 12).await;
    // Shards are handed over fairly after a while; each shows what its own shards have.
    until("shared", async || {
        !one.leases.owned().is_empty() && !other.leases.owned().is_empty()
    })
    .await;
    until("all are shown where they are worked on", async || {
        [&one, &other].iter().all(|replica| {
            let owned = replica.leases.owned();
            let mut ours = bed.droplets.keys().filter(|id| owned.contains(&id.shard()));
            ours.all(|id| matches!(replica.fleet.sighting(*id).droplets, Observation::Present(_)))
        })
    })
    .await;
    bed.more_sweeps(5).await;
    let (listed, swept) = (bed.reads(LIST), bed.sweeps().await);
    // The list of a sweep that is not stored yet, and those of a lease that was lost on the way.
    assert!(
        listed.abs_diff(swept.unsigned_abs()) <= 3,
        "{listed} lists for {swept} sweeps of two replicas"
    );
    bed.end().await;
}

/// What the installation has once, and why it is not as it should be, concerns every replica, not only the one that works on it.
#[tokio::test(flavor = "multi_thread")]
async fn the_base_firewall_is_known_to_every_replica() {
    let bed = Bed::new(12).await;
    for environment in bed.droplets.keys() {
        bed.firewall(names::environment(&installation(), *environment)).await;
    }
    let (one, other) = (bed.replica().await, bed.replica().await);
    let sweeps = |replica: &crate::bed::Replica| replica.leases.fence(SWEEPING_SHARD).is_some();
    until("shared", async || {
        !one.leases.owned().is_empty() && !other.leases.owned().is_empty() && (sweeps(&one) || sweeps(&other))
    })
    .await;
    let (sweeping, following) = if sweeps(&one) { (&one, &other) } else { (&other, &one) };
    until("followed", async || !following.firewalls.owned().is_empty()).await;
    let mut woken = pin!(following.firewalls.changes());
    let mut told = || std::iter::from_fn(|| woken.next().now_or_never().flatten()).count();

    // 1. Why there is none. Whoever has a firewall is woken to tell it.
    let fence = sweeping.leases.fence(SWEEPING_SHARD).unwrap();
    let database = &bed.controller;
    let publish = async |why| database.fleet_failure(&fence, FleetKind::Firewalls, why).await.unwrap();
    publish(Some("source address 10.0.0.300 is not valid")).await;
    until("told", async || {
        following.firewalls.base_failure().as_deref() == Some("source address 10.0.0.300 is not valid")
    })
    .await;
    assert!(told() >= following.firewalls.owned().len(), "everybody is woken");

    // 2. There is one now.
    let base = names::base(&installation());
    bed.firewall(base.clone()).await;
    publish(None).await;
    until("seen", async || {
        let seen = following.firewalls.observed(&base).firewall;
        matches!(seen, Observation::Present(_)) && following.firewalls.base_failure().is_none()
    })
    .await;
    assert!(told() > 0, "everybody is woken");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_fleet_costs_its_pages_and_one_row() {
    let bed = Bed::new(5).await;
    let replica = bed.replica().await;
    until("seen", async || replica.present(&bed) == 5).await;
    // Which transaction wrote which row: no row changes without another one.
    let written = "select string_agg(key || ' ' || xmin::text, ', ' order by key) from fleet_resources";
    let (before, sweeps, lists) = (bed.sql(written).await, bed.sweeps().await, bed.reads(LIST));
    let read_at = replica.fleet.sighting(*bed.droplets.keys().next().unwrap()).read_at;
    bed.more_sweeps(5).await;
    assert_eq!(bed.sql(written).await, before);
    assert!(bed.reads(LIST) - lists <= (bed.sweeps().await - sweeps).unsigned_abs() + 1);
    assert_eq!(bed.reads("GET /v2/droplets/{id}"), 0, "no droplet is asked for by itself");
    until("seen to be as before", async || {
        replica.fleet.sighting(*bed.droplets.keys().next().unwrap()).read_at > read_at
    })
    .await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_under_a_lost_lease_is_refused() {
    let bed = Bed::new(3).await;
    bed.simulator
        .fault(FaultRule::next("GET", "/v2/droplets", Fault::Delay { ms: 1_500 }));
    let replica = bed.replica_swept_every(Duration::from_mins(1)).await;
    until("listed", async || bed.reads(LIST) == 1).await;
    // Somebody else has the shard by now, while the list is still on its way.
    bed.sql(
        "update leases set holder = gen_random_uuid(), epoch = epoch + 1, expires_at = clock_timestamp() + interval '1 hour'
        where shard = 0",
    )
    .await;
    until("ended", async || bed.simulator.counts().faults.get("delay") == Some(&1)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bed.sweeps().await, 0, "nothing was stored");
    assert_eq!(replica.present(&bed), 0);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_and_comes_is_told() {
    let mut bed = Bed::new(8).await;
    let replica = bed.replica().await;
    until("seen", async || replica.present(&bed) == 8).await;
    let (id, droplet) = bed.droplets.pop_first().unwrap();
    bed.simulator.destroy(droplet).await;
    until("seen to be gone", async || {
        replica.fleet.sighting(id).droplets == Observation::Absent
    })
    .await;
    assert_eq!(replica.fleet.sighting(id).trust, Trust::Trusted, "one of eight");
    bed.end().await;
}
