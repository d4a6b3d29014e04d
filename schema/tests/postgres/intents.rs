//! Announcing before doing.

use crate::support::Scene;
use model::{DropletId, Environment, IntentId, IntentKind, IntentOutcome};
use schema::{Enrolled, Error};
use std::time::Duration;

const TTL: Duration = Duration::from_mins(10);

#[tokio::test]
async fn an_intent_is_announced_once_and_raises_the_epoch() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let intent = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
        .await
        .unwrap();
    assert_eq!((intent.environment_id, intent.epoch, intent.outcome), (id, 1, None));
    assert_eq!(intent.enrolment_expires_at.duration_since(intent.announced_at).as_secs(), 600);
    assert_eq!(scene.row(id).await.status.agent_epoch, 1);
    assert_eq!(scene.controller.agent_epoch(id).await.unwrap(), Some(1));

    // A second call, as after a lost answer: it must not look as if nothing had been sent.
    let again = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
        .await
        .unwrap_err();
    assert!(matches!(again, Error::IntentOpen(open) if open == id), "{again}");
    assert_eq!(
        scene.row(id).await.status.agent_epoch,
        1,
        "the refused announcement left no trace"
    );

    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    assert_eq!(record.intent.as_deref(), Some(&intent));
}

#[tokio::test]
async fn of_many_at_once_one_announces() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let row = scene.row(id).await;
    let calls = (0..8).map(|_| scene.controller.intent_announce(&fence, &row, IntentKind::Create, TTL));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers {
        assert!(matches!(answer, Ok(_) | Err(Error::Stale(_))), "{answer:?}");
    }
    assert_eq!(scene.read("select count(*)::text from provisioning_intents").await, ["1"]);
    assert_eq!(scene.row(id).await.status.agent_epoch, 1);
}

/// The last line of defence, should the method ever be wrong.
#[tokio::test]
async fn the_database_takes_no_second_open_intent() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let insert = |epoch| {
        format!(
            "insert into provisioning_intents (environment_id, epoch, enrolment_expires_at, superseded) values ('{id}', {epoch}, now(), false)"
        )
    };
    scene.sql(insert(1)).await;
    let refusal = scene.as_role("postgres", None, &insert(2)).await.unwrap_err();
    assert_eq!(refusal.constraint.as_deref(), Some("provisioning_intents_one_open"));
}

#[tokio::test]
async fn after_it_is_resolved_another_may_follow() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let mut epochs = Vec::new();
    for outcome in [
        IntentOutcome::Refused,
        IntentOutcome::Lost,
        IntentOutcome::Abandoned,
        IntentOutcome::Adopted,
    ] {
        let intent = scene
            .controller
            .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
            .await
            .unwrap();
        epochs.push(intent.epoch);
        scene
            .controller
            .intent_droplet(&fence, intent.id, DropletId(40))
            .await
            .unwrap();
        scene.controller.intent_resolve(&fence, intent.id, outcome).await.unwrap();
        // Again, as after a lost answer.
        scene.controller.intent_resolve(&fence, intent.id, outcome).await.unwrap();
        let record = scene.controller.record_get(id).await.unwrap().unwrap();
        let latest = record.intent.unwrap();
        assert_eq!(
            (latest.id, latest.outcome, latest.droplet_id),
            (intent.id, Some(outcome), Some(DropletId(40)))
        );
        let other = scene
            .controller
            .intent_droplet(&fence, intent.id, DropletId(41))
            .await
            .unwrap_err();
        assert!(matches!(other, Error::NoIntent(_)), "resolved intents are history: {other}");
        let other = if outcome == IntentOutcome::Lost {
            IntentOutcome::Adopted
        } else {
            IntentOutcome::Lost
        };
        let error = scene.controller.intent_resolve(&fence, intent.id, other).await.unwrap_err();
        assert!(matches!(error, Error::NoIntent(_)), "an outcome is final: {error}");
    }
    assert_eq!(epochs, [1, 2, 3, 4]);
    let all = scene.controller.intent_list(id).await.unwrap();
    assert_eq!(all.iter().map(|intent| intent.epoch).collect::<Vec<_>>(), epochs);
}

#[tokio::test]
async fn nothing_is_announced_for_what_is_not_wanted() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    scene
        .sql("update account_tool_environments set desired_state = 'deleted'")
        .await;
    let row = scene.row(id).await;
    let announce = async || scene.controller.intent_announce(&fence, &row, IntentKind::Create, TTL).await;
    let error = announce().await.unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    scene.sql("delete from account_tool_environments").await;
    let error = announce().await.unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    assert_eq!(scene.read("select count(*)::text from provisioning_intents").await, ["0"]);
}

/// A pass that stood still may have the fence of the moment, and a record that others have acted on since it was read.
#[tokio::test]
async fn nothing_is_announced_by_a_record_that_is_not_current() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let announce = async |row: &Environment| {
        let fence = scene.fence(id).await;
        scene.controller.intent_announce(&fence, row, IntentKind::Create, TTL).await
    };
    let read = scene.row(id).await;

    // Another replica had the shard meanwhile, created and adopted: the epoch has risen.
    let intent = announce(&read).await.unwrap();
    let fence = scene.fence(id).await;
    scene
        .controller
        .intent_resolve(&fence, intent.id, IntentOutcome::Adopted)
        .await
        .unwrap();
    let stale = announce(&read).await.unwrap_err();
    assert!(matches!(stale, Error::Stale(of) if of == id), "{stale}");

    // A droplet is recorded that was not when this was read.
    let read = scene.row(id).await;
    scene.record_droplet(id, 7).await;
    let stale = announce(&read).await.unwrap_err();
    assert!(matches!(stale, Error::Stale(_)), "{stale}");

    // The user wants something else.
    let read = scene.row(id).await;
    scene.sql("update account_tool_environments set paused = true").await;
    let stale = announce(&read).await.unwrap_err();
    assert!(matches!(stale, Error::Stale(_)), "{stale}");

    assert_eq!(scene.read("select count(*)::text from provisioning_intents").await, ["1"]);
    assert_eq!(scene.row(id).await.status.agent_epoch, 1, "no refusal left a trace");
    let current = scene.row(id).await;
    assert_eq!(current.status.droplet_id, Some(DropletId(7)));
    announce(&current).await.unwrap();
    assert_eq!(
        scene.row(id).await.status.droplet_id,
        None,
        "the next droplet is recorded once it is seen"
    );
}

/// Whichever comes first, the announcement or the deletion: there is a tombstone if there is an intent.
#[tokio::test]
async fn a_deletion_at_the_same_time_never_misses_the_intent() {
    let scene = Scene::new().await;
    for _ in 0..20 {
        let id = scene.environment().await;
        let fence = scene.fence(id).await;
        let row = scene.row(id).await;
        let delete = scene.sql(format!("delete from account_tool_environments where id = '{id}'"));
        let announce = scene.controller.intent_announce(&fence, &row, IntentKind::Create, TTL);
        let (announced, ()) = tokio::join!(announce, delete);
        let left = scene.controller.record_get(id).await.unwrap();
        assert_eq!(announced.is_ok(), left.is_some(), "{announced:?}, {left:?}");
    }
}

/// Tokens are derived from the epoch, so an id that is used again must not meet old tokens.
#[tokio::test]
async fn epochs_do_not_repeat_when_an_id_is_used_again() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    let id = scene.environment_of(user).await;
    let fence = scene.fence(id).await;
    let first = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
        .await
        .unwrap();
    scene
        .controller
        .intent_resolve(&fence, first.id, IntentOutcome::Adopted)
        .await
        .unwrap();
    scene.sql("delete from account_tool_environments").await;
    scene.controller.tombstone_finish(&fence, id).await.unwrap();
    scene
        .sql(format!(
            "insert into account_tool_environments (id, user_id, region_slug, size_slug, image_slug)
            values ('{id}', '{user}', 'nyc3', 's-1vcpu-1gb', 'ubuntu-22-04-x64')"
        ))
        .await;
    let second = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
        .await
        .unwrap();
    assert_eq!((first.epoch, second.epoch), (1, 2));
}

#[tokio::test]
async fn a_stale_lease_announces_and_resolves_nothing() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let stale = scene.fence(id).await;
    let fence = scene.fence(id).await;
    let error = scene
        .controller
        .intent_announce(&stale, &scene.row(id).await, IntentKind::Create, TTL)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert_eq!(scene.row(id).await.status.agent_epoch, 0);
    let intent = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
        .await
        .unwrap();
    let error = scene
        .controller
        .intent_droplet(&stale, intent.id, DropletId(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    let error = scene
        .controller
        .intent_resolve(&stale, intent.id, IntentOutcome::Lost)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
}

#[tokio::test]
async fn the_first_key_is_the_only_one() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let intent = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
        .await
        .unwrap();
    let row = scene.controller.intent_for_enrolment(intent.id).await.unwrap().unwrap();
    assert_eq!((row.environment_id, row.epoch, row.enrolled_key), (id, 1, None));

    let keys: Vec<String> = (0..20).map(|n| format!("{n:064x}")).collect();
    let enrolled = futures::future::join_all(keys.iter().map(|key| scene.controller.intent_enrol(intent.id, key))).await;
    let enrolled: Vec<Enrolled> = enrolled.into_iter().map(Result::unwrap).collect();
    assert_eq!(enrolled.iter().filter(|answer| **answer == Enrolled::First).count(), 1);
    assert_eq!(enrolled.iter().filter(|answer| **answer == Enrolled::OtherKey).count(), 19);
    let winner = enrolled.iter().position(|answer| *answer == Enrolled::First).unwrap();
    let row = scene.controller.intent_for_enrolment(intent.id).await.unwrap().unwrap();
    assert_eq!(row.enrolled_key.as_ref(), Some(&keys[winner]));

    let row = scene.row(id).await;
    // A lost answer is answered again, also after the time for a first enrolment and the adoption.
    scene
        .sql("update provisioning_intents set enrolment_expires_at = '-infinity'")
        .await;
    scene
        .controller
        .intent_resolve(&fence, intent.id, IntentOutcome::Adopted)
        .await
        .unwrap();
    assert_eq!(
        scene.controller.intent_enrol(intent.id, &keys[winner]).await.unwrap(),
        Enrolled::Again
    );
    // But not after another droplet's intent.
    scene
        .controller
        .intent_announce(&fence, &row, IntentKind::Create, TTL)
        .await
        .unwrap();
    assert_eq!(
        scene.controller.intent_enrol(intent.id, &keys[winner]).await.unwrap(),
        Enrolled::Expired
    );
}

#[tokio::test]
async fn no_first_enrolment_too_late_or_for_what_failed() {
    let scene = Scene::new().await;
    let key = "a".repeat(64);
    assert_eq!(
        scene.controller.intent_enrol(IntentId::random(), &key).await.unwrap(),
        Enrolled::Expired
    );
    assert_eq!(scene.controller.intent_for_enrolment(IntentId::random()).await.unwrap(), None);

    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    let late = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(scene.controller.intent_enrol(late.id, &key).await.unwrap(), Enrolled::Expired);
    scene
        .controller
        .intent_resolve(&fence, late.id, IntentOutcome::Lost)
        .await
        .unwrap();

    let failed = scene
        .controller
        .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
        .await
        .unwrap();
    scene
        .controller
        .intent_resolve(&fence, failed.id, IntentOutcome::Refused)
        .await
        .unwrap();
    assert_eq!(
        scene.controller.intent_enrol(failed.id, &key).await.unwrap(),
        Enrolled::Expired
    );
}

/// Ages come from the database's clock, and droplets without an agent are counted from the last agent that enrolled.
#[tokio::test]
async fn how_far_an_intent_is_is_told_in_ages() {
    let scene = Scene::new().await;
    let id = scene.environment().await;
    let fence = scene.fence(id).await;
    assert_eq!(scene.controller.intent_standing(id).await.unwrap(), None);

    let mut unenrolled = Vec::new();
    for droplet in [Some(40), None, Some(41), Some(42)] {
        let intent = scene
            .controller
            .intent_announce(&fence, &scene.row(id).await, IntentKind::Create, TTL)
            .await
            .unwrap();
        if let Some(droplet) = droplet {
            scene
                .controller
                .intent_droplet(&fence, intent.id, DropletId(droplet))
                .await
                .unwrap();
        }
        if droplet == Some(41) {
            let enrolled = scene.controller.intent_enrol(intent.id, &"a".repeat(64)).await.unwrap();
            assert_eq!(enrolled, Enrolled::First);
        }
        scene
            .sql("update provisioning_intents set announced_at = announced_at - interval '90 seconds' where outcome is null")
            .await;
        let standing = scene.controller.intent_standing(id).await.unwrap().unwrap();
        assert_eq!(standing.intent, intent.id, "the latest");
        let (age, left) = (standing.age.as_secs(), standing.enrolment_left.as_secs());
        assert!(age >= 90 && left <= 600 && left > 0, "{standing:?}");
        assert!((689..=690).contains(&(age + left)), "both by one clock: {standing:?}");
        unenrolled.push(standing.unenrolled);
        scene
            .controller
            .intent_resolve(&fence, intent.id, IntentOutcome::Adopted)
            .await
            .unwrap();
    }
    assert_eq!(unenrolled, [1, 1, 0, 1]);

    scene
        .sql("update provisioning_intents set enrolment_expires_at = announced_at")
        .await;
    let standing = scene.controller.intent_standing(id).await.unwrap().unwrap();
    assert!(standing.enrolment_left.is_negative(), "{standing:?}");
}
