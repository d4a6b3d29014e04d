//! Fresh reads: few requests for many, and none that is believed when all of them say "gone".

use crate::bed::{Bed, LIST, installation};
use fleet::{Fleet, Limits, Looks, Trust};
use futures::future::join_all;
use model::{DropletId, EnvironmentId, EnvironmentRecord, record::Subject};
use runtime::{Clock, Observation, SharedClock};

async fn record(bed: &Bed, id: EnvironmentId) -> EnvironmentRecord {
    let mut record = bed.users.record_get(id).await.unwrap().unwrap();
    match &mut record.subject {
        Subject::Row(row) => row.status.droplet_id = bed.droplets.get(&id).copied().map(DropletId),
        Subject::Tombstone(_) => panic!("{id} is deleted"),
    }
    record
}

async fn records(bed: &Bed) -> Vec<EnvironmentRecord> {
    join_all(bed.droplets.keys().map(|id| record(bed, *id))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_look_at_once_are_served_by_one_list() {
    let bed = Bed::new(30).await;
    let clock = SharedClock::default();
    let looks = Looks::new(
        bed.client.clone(),
        installation(),
        Fleet::new(),
        Limits::default(),
        clock.clone(),
    );
    let records = records(&bed).await;
    let before = clock.now();
    let seen = join_all(records.iter().map(|record| looks.droplets(record))).await;
    for (record, seen) in records.iter().zip(seen) {
        let sighting = seen.unwrap();
        let Observation::Present(droplets) = sighting.droplets else {
            panic!("{:?} of {:?}", sighting.droplets, record.id());
        };
        assert_eq!(droplets[0].id.0, bed.droplets[&record.id()]);
        assert!(sighting.read_at.unwrap() >= before);
    }
    // The first one's own, and one for all who came while that went on; perhaps one more for who came between.
    assert!(bed.reads(LIST) <= 3, "{} lists for 30 looks", bed.reads(LIST));
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_is_not_believed_of_many_at_once() {
    let bed = Bed::new(10).await;
    let (fleet, clock) = (Fleet::new(), SharedClock::default());
    let looks = Looks::new(
        bed.client.clone(),
        installation(),
        fleet.clone(),
        Limits::default(),
        clock.clone(),
    );
    let records = records(&bed).await;
    for record in &records {
        looks.droplets(record).await.unwrap();
    }
    let mut trusted = Vec::new();
    for record in &records[..4] {
        bed.simulator.destroy(bed.droplets[&record.id()]).await;
        let sighting = looks.droplets(record).await.unwrap();
        assert_eq!(sighting.droplets, Observation::Absent);
        trusted.push(sighting.trust == Trust::Trusted);
    }
    assert_eq!(trusted, [true, true, false, false], "three of ten are too many");
    assert!(matches!(fleet.sighting(records[0].id()).trust, Trust::Withheld { .. }));
    assert_eq!(
        fleet.sighting(records[9].id()).trust,
        Trust::Trusted,
        "what is there is there"
    );
    fleet.sweep([], clock.now());
    assert_eq!(fleet.sighting(records[0].id()).trust, Trust::Trusted, "a later sweep judges");
    bed.end().await;
}
