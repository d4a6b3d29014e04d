//! Actions: what is being done to a droplet, and how it ended.

mod store;

pub(crate) use store::Actions;

use super::{
    World,
    droplet::{Droplet, Status, check_name},
    now,
};
use crate::{problem::Problem, world::catalog::Image};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Progress {
    #[serde(rename = "in-progress")]
    Running,
    Completed,
    Errored,
}

/// An action.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) id: u64,
    pub(crate) droplet: u64,
    kind: String,
    status: Progress,
    started_at: Timestamp,
    completed_at: Option<Timestamp>,
    region: String,
}

/// What `POST /v2/droplets/{id}/actions` can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Order {
    PowerOn,
    PowerOff,
    PowerCycle,
    Shutdown,
    Reboot,
    Resize { size: String, disk: Option<bool> },
    Rebuild { image: Option<Value> },
    Rename { name: String },
    Snapshot { name: Option<String> },
}

impl Order {
    fn kind(&self) -> &'static str {
        match self {
            Self::PowerOn => "power_on",
            Self::PowerOff => "power_off",
            Self::PowerCycle => "power_cycle",
            Self::Shutdown => "shutdown",
            Self::Reboot => "reboot",
            Self::Resize { .. } => "resize",
            Self::Rebuild { .. } => "rebuild",
            Self::Rename { .. } => "rename",
            Self::Snapshot { .. } => "snapshot",
        }
    }
}

impl World {
    /// What the API shows of an action.
    pub(crate) fn action_view(&self, action: &Action) -> Value {
        json!({
            "id": action.id,
            "status": action.status,
            "type": action.kind,
            "started_at": action.started_at,
            "completed_at": action.completed_at,
            "resource_id": action.droplet,
            "resource_type": "droplet",
            "region": self.catalog.region(&action.region),
            "region_slug": action.region,
        })
    }

    pub(crate) fn action(&self, id: u64) -> Result<&Action, Problem> {
        self.actions.get(id).ok_or_else(Problem::not_found)
    }

    /// Takes an order for a droplet, and makes it busy until [`World::action_end`].
    pub(crate) fn action_order(&mut self, droplet: u64, body: &Value) -> Result<(u64, Order), Problem> {
        let known = self.droplet(droplet)?.clone();
        let order = Order::deserialize(body)
            .map_err(|error| Problem::unprocessable(&format!("You specified an invalid action: {error}")))?;
        if known.destroying || known.event.is_some() {
            return Err(Problem::pending_event());
        }
        self.check(&known, &order)?;
        let id = self.action_begin(droplet, order.kind(), &known.region);
        self.droplets.change(droplet, |droplet| droplet.event = Some(id));
        Ok((id, order))
    }

    fn check(&self, droplet: &Droplet, order: &Order) -> Result<(), Problem> {
        let refused = |message: &str| Err(Problem::unprocessable(message));
        match order {
            Order::PowerOn if droplet.status == Status::Active => refused("Droplet is already powered on."),
            Order::PowerOff | Order::Shutdown if droplet.status == Status::Off => refused("Droplet is already powered off."),
            Order::Resize { .. } if droplet.status != Status::Off => {
                refused("Droplet must be powered off before it can be resized.")
            }
            Order::Resize { size, .. } => self.check_resize(droplet, size),
            Order::Rebuild { image: Some(image) } if self.catalog.image(image).is_none() => {
                refused("You specified an invalid image for Droplet rebuild.")
            }
            Order::Rename { name } => check_name(name),
            Order::PowerOn
            | Order::PowerOff
            | Order::PowerCycle
            | Order::Shutdown
            | Order::Reboot
            | Order::Rebuild { .. }
            | Order::Snapshot { .. } => Ok(()),
        }
    }

    fn check_resize(&self, droplet: &Droplet, slug: &str) -> Result<(), Problem> {
        let Some(size) = self.catalog.size(slug).filter(|size| size.regions.contains(&droplet.region)) else {
            return Err(Problem::unprocessable("You specified an invalid size for Droplet resize."));
        };
        if size.disk < droplet.disk {
            return Err(Problem::unprocessable("Size can not decrease size of Droplet's disk image"));
        }
        Ok(())
    }

    /// Records an action that has begun.
    pub(crate) fn action_begin(&mut self, droplet: u64, kind: &str, region: &str) -> u64 {
        self.actions.insert(|id| Action {
            id,
            droplet,
            kind: kind.to_owned(),
            status: Progress::Running,
            started_at: now(),
            completed_at: None,
            region: region.to_owned(),
        })
    }

    /// An action has ended; the droplet takes orders again.
    pub(crate) fn action_end(&mut self, id: u64, well: bool) {
        let kept = self.settings.get().actions_kept;
        let Some(droplet) = self.actions.get(id).map(|action| action.droplet) else {
            return;
        };
        let end = |action: &mut Action| {
            action.status = if well { Progress::Completed } else { Progress::Errored };
            action.completed_at = Some(now());
        };
        if self.actions.end(id, end, kept) && self.droplets.get(droplet).is_some_and(|droplet| droplet.event == Some(id)) {
            self.droplets.change(droplet, |droplet| droplet.event = None);
        }
    }

    /// The order was carried out on the machine: the droplet shows it.
    pub(crate) fn action_done(&mut self, id: u64, order: &Order) {
        let Some(droplet) = self.actions.get(id).map(|action| action.droplet) else {
            return;
        };
        let Some(mut droplet) = self.droplets.get(droplet).cloned() else {
            return;
        };
        match order {
            Order::PowerOn | Order::PowerCycle | Order::Reboot => droplet.status = Status::Active,
            Order::PowerOff | Order::Shutdown => droplet.status = Status::Off,
            Order::Resize { size, disk } => {
                if let Some(size) = self.catalog.size(size) {
                    droplet.size.clone_from(&size.slug);
                    (droplet.memory, droplet.vcpus) = (size.memory, size.vcpus);
                    if *disk == Some(true) {
                        droplet.disk = size.disk;
                    }
                }
            }
            Order::Rebuild { image } => {
                droplet.status = Status::Active;
                if let Some(image) = image.as_ref().and_then(|image| self.catalog.image(image)) {
                    droplet.image = Arc::clone(image);
                }
            }
            Order::Rename { name } => droplet.name.clone_from(name),
            Order::Snapshot { name } => {
                droplet.snapshot_ids.push(id);
                let image = snapshot_of(&droplet, id, name.as_deref());
                self.catalog.images.push(Arc::new(image));
            }
        }
        self.droplets.change(droplet.id, |known| *known = droplet);
        self.action_end(id, true);
    }
}

fn snapshot_of(droplet: &Droplet, id: u64, name: Option<&str>) -> Image {
    Image {
        id,
        name: name.unwrap_or(&droplet.name).to_owned(),
        kind: "snapshot".to_owned(),
        slug: None,
        public: false,
        regions: vec![droplet.region.clone()],
        created_at: now().to_string(),
        min_disk_size: droplet.disk,
        ..Image::clone(&droplet.image)
    }
}
