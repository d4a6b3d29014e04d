//! Reading everything at once. Owns: the lists of all droplets and of all firewalls. Promises: a list that failed part-way is
//! no observation.

use crate::{droplets::Fleet, firewalls::Firewalls, read::seen};
use digitalocean::{Client, DropletFilter};
use jiff::Timestamp;
use model::{InstallationId, tags};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Reads the whole installation's droplets, once in `every`, one list for all environments.
pub async fn droplets(client: Client, installation: InstallationId, fleet: Fleet, every: Duration, shutdown: CancellationToken) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let filter = DropletFilter::Tag(tags::installation(&installation));
    let work = async {
        loop {
            ticks.tick().await;
            let began = Timestamp::now();
            match client.droplet_list(&filter).await {
                Ok(listed) => {
                    let owned = listed.iter().filter_map(|droplet| {
                        let id = tags::owner(droplet.tags.iter().map(String::as_str), &installation)?;
                        Some((id, seen(droplet, id, &installation)))
                    });
                    fleet.sweep(owned, began);
                }
                // What was seen before grows old by itself, and is unknown then.
                Err(error) => tracing::warn!(%error, "the fleet could not be read"),
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Reads all firewalls, once in `every`, one list for all environments.
pub async fn firewalls(client: Client, seen: Firewalls, every: Duration, shutdown: CancellationToken) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            ticks.tick().await;
            let began = Timestamp::now();
            match client.firewall_list().await {
                Ok(listed) => seen.sweep(listed, began),
                // What was seen before grows old by itself, and is unknown then.
                Err(error) => tracing::warn!(%error, "the firewalls could not be read"),
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}
