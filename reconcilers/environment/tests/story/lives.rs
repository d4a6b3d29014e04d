//! Droplets that come, are lost, and go.

use crate::support::{PATIENCE, Story};
use model::{EnvironmentDesiredState, EnvironmentPhase};
use simulator::{Fault, FaultRule};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_droplet_comes_is_lost_comes_again_goes_and_stays_gone() {
    let mut story = Story::begin().await;
    let id = story.insert("nyc3").await;
    let row = story.launch(id).await;
    let first = story.live();
    assert_eq!(first, [row.status.droplet_id.unwrap().0]);
    assert_eq!(row.status.agent_epoch, 1);

    // Destroyed behind our back: one new droplet, and the old agent's epoch is over.
    story.simulator.destroy(first[0]).await;
    story.until(id, "replaced", |row| row.status.agent_epoch == 2).await;
    let row = story.launch(id).await;
    assert_eq!(story.live(), [row.status.droplet_id.unwrap().0]);
    assert_ne!(story.live(), first);

    // Disabled, and enabled again.
    story
        .want(id, |spec| spec.desired_state = EnvironmentDesiredState::Deleted)
        .await;
    let row = story
        .until(id, "deleted", |row| row.status.phase == EnvironmentPhase::Deleted)
        .await;
    assert_eq!((row.status.droplet_id, row.status.ip_address), (None, None));
    assert_eq!(story.live(), Vec::<u64>::new());
    story
        .want(id, |spec| spec.desired_state = EnvironmentDesiredState::Active)
        .await;
    story.launch(id).await;
    assert_eq!(story.live().len(), 1);

    let reasons: Vec<String> = story
        .users
        .event_list(Some(id), 100)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.event.reason)
        .collect();
    for reason in [
        "CreateAnnounced",
        "DropletCreated",
        "CreateSeen",
        "DropletAdopted",
        "DropletGone",
        "DropletDeleted",
    ] {
        assert!(reasons.iter().any(|seen| seen == reason), "{reason} is not among {reasons:?}");
    }
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_makes_no_second_droplet_and_a_lost_request_is_made_good() {
    let mut story = Story::begin().await;
    story
        .simulator
        .fault(FaultRule::next("POST", "/v2/droplets", Fault::DropAfter));
    let id = story.insert("nyc3").await;
    story.launch(id).await;
    assert_eq!(story.live().len(), 1);

    story
        .simulator
        .fault(FaultRule::next("POST", "/v2/droplets", Fault::DropBefore));
    let other = story.insert("nyc3").await;
    let row = story.launch(other).await;
    assert_eq!(row.status.agent_epoch, 2, "announced again, once the window had passed");
    assert_eq!(story.live().len(), 2);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_create_names_the_column_and_heals_with_it() {
    let mut story = Story::begin().await;
    let id = story.insert("nowhere").await;
    let row = story
        .until(id, "refused", |row| row.status.phase == EnvironmentPhase::ErrorCreation)
        .await;
    let message = row.status.error_message.unwrap();
    assert!(message.starts_with("region_slug:"), "{message}");
    let events = story.users.event_list(Some(id), 50).await.unwrap();
    let cause = "while CreateDroplet: spec.desired_state of generation 1";
    assert!(events.iter().any(|seen| seen.event.cause == cause), "{events:#?}");
    let announced = row.status.agent_epoch;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        story.row(id).await.status.agent_epoch,
        announced,
        "tried again without a reason"
    );
    story.want(id, |spec| spec.region = "nyc3".into()).await;
    let row = story.launch(id).await;
    assert_eq!(row.status.error_message, None);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_row_and_a_replica_that_dies_leave_nothing() {
    let mut story = Story::begin().await;
    let id = story.insert("nyc3").await;
    story.launch(id).await;
    // Another replica takes over once the lease of the one before is over.
    story.serve().await;
    story
        .sql(&format!("delete from account_tool_environments where id = '{id}'"))
        .await;
    story.until_none_is_live().await;
    let end = tokio::time::Instant::now() + PATIENCE;
    while story.record(id).await.is_some() {
        assert!(tokio::time::Instant::now() < end, "the tombstone stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    story.end().await;
}
