//! Actions of droplets.

use crate::bed::{Bed, plain};
use digitalocean::{ActionStatus, Droplet, DropletAction, DropletStatus, Error, Refusal};
use serde_json::json;

async fn done(bed: &Bed, droplet: u64, action: DropletAction) -> Droplet {
    let begun = bed.client.droplet_action(droplet, &action).await.unwrap();
    assert_eq!((begun.status, begun.resource_id), (ActionStatus::InProgress, Some(droplet)));
    bed.until("the action's end", async || {
        let action = bed.client.action_get(begun.id).await.unwrap();
        (action.status == ActionStatus::Completed).then_some(action)
    })
    .await;
    bed.client.droplet_get(droplet).await.unwrap()
}

#[tokio::test]
async fn a_droplet_is_resized_while_it_is_off() {
    let bed = Bed::new().await;
    let id = bed.active(&plain("one", &[])).await.id;
    let resize = |size: &str| DropletAction::Resize {
        size: size.to_owned(),
        disk: false,
    };
    let error = bed.client.droplet_action(id, &resize("s-2vcpu-2gb")).await.unwrap_err();
    assert!(error.to_string().contains("powered off"), "{error}");
    assert_eq!(done(&bed, id, DropletAction::PowerOff).await.status, DropletStatus::Off);
    let error = bed.client.droplet_action(id, &resize("huge")).await.unwrap_err();
    assert!(error.to_string().contains("invalid size"), "{error}");
    let resized = done(&bed, id, resize("s-2vcpu-2gb")).await;
    assert_eq!(
        (resized.size_slug.as_str(), resized.vcpus, resized.disk),
        ("s-2vcpu-2gb", 2, 25)
    );
    let error = bed
        .client
        .droplet_action(id, &resize("s-1vcpu-512mb-10gb"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                refusal: Refusal::Invalid { field: Some("size") },
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(done(&bed, id, DropletAction::PowerOn).await.status, DropletStatus::Active);
    assert_eq!(done(&bed, id, DropletAction::Reboot).await.status, DropletStatus::Active);
    assert_eq!(done(&bed, id, DropletAction::Shutdown).await.status, DropletStatus::Off);
    let rename = DropletAction::Rename { name: "two".to_owned() };
    assert_eq!(done(&bed, id, rename).await.name, "two");
    let history = bed.get(&format!("/v2/droplets/{id}/actions")).await;
    assert_eq!(history["meta"]["total"], 7, "with its create");
}

#[tokio::test]
async fn a_busy_droplet_refuses_orders() {
    let bed = Bed::with(|config| config.settings.action_ms = 60_000).await;
    let id = bed.active(&plain("one", &[])).await.id;
    bed.client.droplet_action(id, &DropletAction::Reboot).await.unwrap();
    assert!(bed.client.droplet_get(id).await.unwrap().locked);
    let error = bed.client.droplet_action(id, &DropletAction::PowerOff).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                refusal: Refusal::PendingEvent,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.to_string().matches("Droplet already has a pending event.").count(), 1);
}

#[tokio::test]
async fn an_action_of_a_droplet_that_dies_has_failed() {
    let bed = Bed::with(|config| config.settings.boot_ms = 60_000).await;
    let created = bed.client.droplet_create(&plain("one", &[])).await.unwrap();
    bed.client.droplet_delete(created.droplet.id).await.unwrap();
    bed.until("gone", async || bed.client.droplet_get(created.droplet.id).await.err())
        .await;
    let action = bed.client.action_get(created.action.unwrap()).await.unwrap();
    assert_eq!(action.status, ActionStatus::Errored);
}

#[tokio::test]
async fn unknown_orders_are_refused() {
    let bed = Bed::new().await;
    let id = bed.active(&plain("one", &[])).await.id;
    let path = format!("/v2/droplets/{id}/actions");
    for body in [
        json!({"type": "fly"}),
        json!({}),
        json!({"type": "resize"}),
        json!({"type": "rename", "name": "a_b"}),
    ] {
        assert_eq!(bed.ask("POST", &path, body.clone()).await.status, 422, "{body}");
    }
    assert_eq!(
        bed.ask("POST", "/v2/droplets/1/actions", json!({"type": "reboot"}))
            .await
            .status,
        404
    );
}
