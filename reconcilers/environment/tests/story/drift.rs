//! What somebody else does to droplets, and what is changed about them.

use crate::{
    hands::{hands, members, project, tagged},
    support::Story,
};
use digitalocean::{DropletAction, DropletStatus};
use model::{EnvironmentId, EnvironmentPhase};

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_does_to_a_droplet_is_undone() {
    let mut story = Story::begin().await;
    let hands = hands(&story);
    story.project = Some(project(&story).await);
    story.serve().await;
    let id = story.insert("nyc3").await;
    let row = story.launch(id).await;
    let droplet = row.status.droplet_id.unwrap().0;
    story
        .until_droplet("in the project", || async {
            members(&hands, story.project.as_deref().unwrap()).await == [droplet]
        })
        .await;

    // Another name, no tags, no power: one after the other, and each is corrected.
    let rename = DropletAction::Rename { name: "mine".to_owned() };
    hands.droplet_action(droplet, &rename).await.unwrap();
    let name = format!("toolplane-{id}");
    story
        .until_droplet("renamed", || async {
            let seen = hands.droplet_get(droplet).await.unwrap();
            seen.name == name && !seen.locked
        })
        .await;
    for tag in [
        "toolplane:installation:test".to_owned(),
        format!("toolplane:environment:{id}"),
    ] {
        hands.tag_delete(&tag).await.unwrap();
    }
    story
        .until_droplet("tagged", || async {
            hands.droplet_get(droplet).await.unwrap().tags.len() == 4
        })
        .await;
    hands.droplet_action(droplet, &DropletAction::PowerOff).await.unwrap();
    story
        .until_droplet("off", || async {
            hands.droplet_get(droplet).await.unwrap().status == DropletStatus::Off
        })
        .await;
    story
        .until_droplet("on", || async {
            hands.droplet_get(droplet).await.unwrap().status == DropletStatus::Active
        })
        .await;
    assert_eq!(story.live(), [droplet], "all of it is the same droplet");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_is_reached_in_place_or_named_as_unreachable() {
    let mut story = Story::begin().await;
    let hands = hands(&story);
    let id = story.insert("nyc3").await;
    let row = story.launch(id).await;
    let droplet = row.status.droplet_id.unwrap().0;
    story.want(id, |spec| spec.size = "s-2vcpu-4gb".into()).await;
    story
        .until_droplet("resized", || async {
            let seen = hands.droplet_get(droplet).await.unwrap();
            seen.size_slug == "s-2vcpu-4gb" && seen.disk == 25 && seen.status == DropletStatus::Active
        })
        .await;
    story.agent(id).await;
    let row = story
        .until(id, "settled", |row| row.status.conditions.holds("Reconciled"))
        .await;
    assert_eq!(row.status.conditions.get("ToolsStopped"), None);

    story.want(id, |spec| spec.size = "s-1vcpu-512mb-10gb".into()).await;
    let row = story.until(id, "refused", |row| row.status.error_message.is_some()).await;
    let message = row.status.error_message.unwrap();
    assert!(
        message.starts_with("size_slug: ") && message.contains("cannot shrink"),
        "{message}"
    );
    assert_eq!(row.status.phase, EnvironmentPhase::Active);
    assert_eq!(story.live(), [droplet]);
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_goes_and_what_others_tagged_stays() {
    let mut story = Story::begin().await;
    let (hands, nobody) = (hands(&story), EnvironmentId::random());
    let id = story.insert("nyc3").await;
    let row = story.launch(id).await;
    let own = row.status.droplet_id.unwrap().0;
    let foreign = tagged(
        &hands,
        &[
            "toolplane".to_owned(),
            "toolplane:installation:other".to_owned(),
            format!("toolplane:environment:{nobody}"),
        ],
    )
    .await;
    let orphan = tagged(
        &hands,
        &[
            "toolplane".to_owned(),
            "toolplane:installation:test".to_owned(),
            format!("toolplane:environment:{nobody}"),
        ],
    )
    .await;
    story
        .until_droplet("the orphan is gone", || async { !story.live().contains(&orphan) })
        .await;
    let mut live = story.live();
    live.sort_unstable();
    assert_eq!(live, [own, foreign]);
    let events = story.users.event_list(Some(nobody), 10).await.unwrap();
    assert!(events.iter().any(|seen| seen.event.reason == "OrphanDeleted"), "{events:?}");
    story.end().await;
}
