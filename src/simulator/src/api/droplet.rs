//! `/v2/droplets`.

use super::{Answer, Done, Payload, firewall, found, number};
use crate::{
    cloud::{Cloud, Event},
    fault::{Asked, Fault},
    page::Paging,
    problem::Problem,
    world::{
        World,
        droplet::{Create, Created, Fate},
    },
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    time::Duration,
};

/// The port that agents listen on. An address on which it is taken belongs to somebody else's droplet.
const AGENT_PORT: u16 = 30_000;

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/v2/droplets", get(list).post(create).delete(delete_tagged))
        .route("/v2/droplets/{id}", get(one).delete(delete))
        .route("/v2/droplets/{id}/firewalls", get(firewalls))
        .route("/v2/droplets/{id}/neighbors", get(neighbors))
        .route("/v2/droplets/{id}/snapshots", get(snapshots))
        .route("/v2/droplets/{id}/backups", get(backups))
        .route("/v2/droplets/{id}/kernels", get(kernels))
}

async fn list(State(cloud): State<Arc<Cloud>>, asked: Asked, paging: Paging) -> Answer {
    let stale = cloud.faults.strike(&asked, Fault::stale).map(Duration::from_millis);
    Ok(found(cloud.world().droplet_list(&paging, stale)?))
}

async fn one(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>) -> Answer {
    let world = cloud.world();
    Ok(found(json!({"droplet": world.droplet_view(world.droplet(number(&id)?)?)})))
}

async fn create(State(cloud): State<Arc<Cloud>>, asked: Asked, paging: Paging, Payload(create): Payload<Create>) -> Answer {
    let (made, fate, changes, body) = {
        let mut world = cloud.world();
        let made = world.droplet_create(&create, is_free)?;
        let fate = fate(&cloud, &asked);
        let ids: Vec<u64> = made.iter().map(|made| made.droplet).collect();
        for id in &ids {
            world.droplets.change(*id, |droplet| droplet.fate = fate);
        }
        let changes = world.droplet_tags_changed(&ids);
        let body = created(&world, &paging, &made, create.is_multiple());
        (made, fate, changes, body)
    };
    begin(&cloud, &made, fate);
    let ids: Vec<u64> = made.iter().map(|made| made.droplet).collect();
    cloud.watch_twins(&ids);
    firewall::spread(&cloud, &asked, changes);
    Ok((StatusCode::ACCEPTED, Json(body)))
}

/// What faults make of a create that was accepted.
fn fate(cloud: &Cloud, asked: &Asked) -> Fate {
    let lasting = |fault: fn(&Fault) -> Option<u64>| cloud.faults.strike(asked, fault).map(Duration::from_millis);
    Fate {
        vanish: lasting(Fault::vanish),
        hidden: lasting(Fault::hide).unwrap_or_default(),
        addressless: lasting(Fault::addressless),
    }
}

/// Sets new droplets on their way: to their boot, or to nothing.
fn begin(cloud: &Arc<Cloud>, made: &[Created], fate: Fate) {
    let boot = cloud.settings.get().boot();
    for Created { droplet, action } in made.iter().copied() {
        match fate.vanish {
            None => cloud.schedule(boot, Event::Active(droplet)),
            Some(after) => {
                if after.is_zero() {
                    cloud.vanish(droplet);
                } else {
                    cloud.schedule(after, Event::Vanished(droplet));
                }
                cloud.schedule(boot.max(after), Event::Errored { action });
            }
        }
    }
}

fn created(world: &World, paging: &Paging, made: &[Created], multiple: bool) -> Value {
    let droplets: Vec<Value> = made
        .iter()
        .filter_map(|made| world.droplets.get(made.droplet))
        .map(|droplet| world.droplet_view(droplet))
        .collect();
    let link = |made: &Created| {
        let href = paging.sibling(&format!("/v2/actions/{}", made.action));
        json!({"id": made.action, "rel": "create", "href": href})
    };
    let links = json!({"actions": made.iter().map(link).collect::<Vec<_>>()});
    if multiple {
        json!({"droplets": droplets, "links": links})
    } else {
        json!({"droplet": droplets.first(), "links": links})
    }
}

fn is_free(address: Ipv4Addr) -> bool {
    TcpListener::bind((address, AGENT_PORT)).is_ok()
}

async fn delete(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, asked: Asked) -> Done {
    let id = number(&id)?;
    let is_first = cloud.world().droplet_delete(id)?;
    if is_first {
        let after = cloud.twisted(&asked, Fault::farewell, cloud.settings.get().delete());
        cloud.schedule(after, Event::Gone(id));
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_tagged(State(cloud): State<Arc<Cloud>>, asked: Asked, paging: Paging) -> Done {
    let tag = paging.parameter("tag_name");
    let tag = tag.ok_or_else(|| Problem::unprocessable("tag_name is required"))?;
    let ids = cloud.world().droplet_delete_tagged(&tag)?;
    for id in ids {
        let after = cloud.twisted(&asked, Fault::farewell, cloud.settings.get().delete());
        cloud.schedule(after, Event::Gone(id));
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn firewalls(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, paging: Paging) -> Answer {
    let world = cloud.world();
    let droplet = world.droplet(number(&id)?)?;
    let applying = world.firewalls.iter().filter(|firewall| firewall.applies_to(droplet));
    Ok(found(paging.answer(
        "firewalls",
        applying,
        crate::world::firewall::Firewall::view,
    )))
}

/// No two simulated droplets share a host.
async fn neighbors(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>) -> Answer {
    cloud.world().droplet(number(&id)?)?;
    Ok(found(json!({"droplets": []})))
}

async fn snapshots(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, paging: Paging) -> Answer {
    let world = cloud.world();
    let ids = &world.droplet(number(&id)?)?.snapshot_ids;
    let images = world.catalog.images.iter().filter(|image| ids.contains(&image.id));
    Ok(found(paging.answer("snapshots", images, |image| image)))
}

/// Backups are taken by a schedule that is not simulated.
async fn backups(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, paging: Paging) -> Answer {
    cloud.world().droplet(number(&id)?)?;
    Ok(found(paging.answer("backups", std::iter::empty::<Value>(), |backup| backup)))
}

/// Droplets boot the kernel of their image.
async fn kernels(State(cloud): State<Arc<Cloud>>, Path(id): Path<String>, paging: Paging) -> Answer {
    cloud.world().droplet(number(&id)?)?;
    Ok(found(paging.answer("kernels", std::iter::empty::<Value>(), |kernel| kernel)))
}
