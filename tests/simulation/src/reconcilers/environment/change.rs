//! Changes of a droplet, and what they need to know.

use super::{EnvironmentModel, refused};
use crate::cloud::{Power, Refusal};
use environment_reconciler::{
    Observed,
    action::Change,
    project::Membership,
    sizes::{Size, Sizes},
};
use fleet::{Mark, Sighting};
use jiff::SignedDuration;
use model::{DropletId, EnvironmentId, tags};
use runtime::Error;
use std::sync::Arc;

impl EnvironmentModel {
    pub(super) fn observed(&self, id: EnvironmentId, sighting: Sighting) -> Observed {
        let process = &self.0;
        let now = process.moment();
        let memory = process.memory();
        Observed {
            sighting,
            heard_at: memory.heard.get(&id).copied(),
            outgoing: process.outbox.outgoing(id, now),
            sizes: memory.sizes.as_ref().map_or_else(Sizes::default, |(known, at)| Sizes {
                known: Some(Arc::clone(known)),
                age: now - SignedDuration::from_millis(*at),
            }),
            project: Membership::Unmanaged,
            short_until: None,
            short: false,
        }
    }

    pub(super) async fn read_sizes(&self) -> Result<(), Error> {
        let began = self.0.monotonic();
        self.0.read_cloud("read the sizes".to_owned(), |_| ()).await?;
        let size = |slug: &str, disk| Size {
            slug: slug.into(),
            disk,
            regions: ["nyc3".into()].into(),
        };
        self.0.memory().sizes = Some((Arc::from([size("s-1vcpu-1gb", 25), size("s-1vcpu-2gb", 50)]), began));
        Ok(())
    }

    pub(super) async fn change(&self, id: EnvironmentId, droplet: DropletId, change: &Change) -> Result<(), Error> {
        self.0.fence(id)?;
        match change {
            Change::PowerOn => self.power(droplet, Power::On).await?,
            Change::Shutdown => self.power(droplet, Power::Shutdown).await?,
            Change::PowerOff => self.power(droplet, Power::Off).await?,
            Change::Resize { size } => self.resize(id, droplet, size).await?,
            Change::Rename => {
                let name = tags::droplet_name(id);
                self.order(droplet, "rename", move |world| {
                    world.cloud.actable(world.now, droplet.0).map(|real| real.shown.name = name)
                })
                .await?;
            }
            Change::Tag(mark) => {
                let tag = match mark {
                    Mark::Toolplane => tags::TOOLPLANE.to_owned(),
                    Mark::Installation => tags::installation(&self.0.setup.installation),
                    Mark::Environment => tags::environment(id),
                };
                self.tag(droplet, tag).await?;
            }
            Change::TagIntent(intent) => self.tag(droplet, tags::intent(*intent)).await?,
            // No project is configured.
            Change::AssignProject => return Err(Error::retriable("ProjectUnknown", "no project is configured")),
        }
        self.0.outbox.changed(id, droplet, change.clone(), self.0.moment());
        Ok(())
    }

    async fn power(&self, droplet: DropletId, power: Power) -> Result<(), Error> {
        let told = format!("{power:?}");
        let ordered = self.order(droplet, &told, move |world| {
            world.cloud.power(world.now, &mut world.dice, droplet.0, power)
        });
        ordered.await
    }

    async fn tag(&self, droplet: DropletId, tag: String) -> Result<(), Error> {
        let told = format!("tag with {tag}");
        let tagged = self.order(droplet, &told, move |world| {
            let real = world.cloud.droplets.get_mut(&droplet.0).filter(|real| real.lives(world.now));
            let carried = &mut real.ok_or(Refusal::NotFound)?.shown.tags;
            if !carried.contains(&tag) {
                carried.push(tag);
            }
            Ok(())
        });
        tagged.await
    }

    /// Orders something, and takes for no failure what is done already.
    async fn order(
        &self,
        droplet: DropletId,
        told: &str,
        effect: impl FnOnce(&mut crate::world::World) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<(), Error> {
        let ordered = self.0.change_cloud(format!("{told} droplet {droplet}"), move |world, _| {
            world.invariants.touching(&world.cloud, &world.installation, droplet.0);
            effect(world)
        });
        ordered.await.map_err(|trouble| self.0.trouble(trouble))?.map_err(refused)
    }

    async fn resize(&self, id: EnvironmentId, droplet: DropletId, size: &str) -> Result<(), Error> {
        let wanted = size.to_owned();
        let ordered = self
            .0
            .change_cloud(format!("resize droplet {droplet} to {size}"), move |world, _| {
                world.invariants.touching(&world.cloud, &world.installation, droplet.0);
                world.cloud.resize(world.now, droplet.0, &wanted, false)
            });
        let action = ordered.await.map_err(|trouble| self.0.trouble(trouble))?.map_err(refused)?;
        self.0.outbox.resizing(id, droplet, action);
        Ok(())
    }

    pub(super) async fn follow_resize(&self, id: EnvironmentId) -> Result<(), Error> {
        let Some((droplet, action)) = self.0.outbox.pending_resize(id) else {
            return Ok(());
        };
        let completed = self.0.read_cloud(format!("follow action {action}"), move |world| {
            let ends = world.cloud.actions.get(&action).copied();
            ends.is_none_or(|ends| world.now >= ends)
        });
        if completed.await? {
            self.0.outbox.resize_ended(id, droplet, true);
        }
        Ok(())
    }
}
