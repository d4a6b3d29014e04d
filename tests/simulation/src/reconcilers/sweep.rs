//! The sweep of the fleet by the holder of shard 0, and the following of it by everybody: `fleet::sweep` and `fleet::follow`.

use crate::{moment::seconds, process::Process, world::World};
use digitalocean::{Firewall, FirewallStatus};
use fleet::{
    Limits, Trust,
    confirm::{AT_ONCE, Answer, Confirmation, answered},
    firewalls::Known,
    ledger::{Beside, Ledger, List, Listed, Verdict},
    names, read,
};
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentId, InstallationId, tags};
use runtime::{Clock, Error, Outcome};
use schema::{Fence, FleetKind, FleetPublication, FleetRow, FleetSweep, SWEEPING_SHARD};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// The one key of this loop.
pub const KEY: EnvironmentId = EnvironmentId(Uuid::nil());

/// Between two sweeps while nothing is under way.
const EVERY: SignedDuration = SignedDuration::from_secs(60);

/// What one process remembers between two sweeps.
#[derive(Debug, Default)]
pub struct Sweeper {
    ledgers: BTreeMap<&'static str, (Fence, Ledger, Confirmation)>,
}

/// One sweep of both kinds, if it is this process's turn.
pub async fn sweep(process: Arc<Process>) -> Outcome {
    let Ok(fence) = process.fence_of(SWEEPING_SHARD) else {
        process.memory().sweeper.ledgers.clear();
        return done(seconds(1));
    };
    for kind in [FleetKind::Droplets, FleetKind::Firewalls] {
        if one(&process, &fence, kind).await.is_err() {
            process.memory().sweeper.ledgers.remove(kind.as_str());
        }
    }
    let stir = process.database("ask what is under way".to_owned(), |world| {
        world.database.fleet_stir(world.now)
    });
    let patience = |age: SignedDuration| (age / 4).clamp(SignedDuration::from_secs(2), SignedDuration::from_secs(30));
    let pause = stir.await.ok().flatten().map_or(EVERY, patience);
    done(crate::moment::millis(pause))
}

fn done(pause: i64) -> Outcome {
    Outcome::Done {
        requeue: Some(Duration::from_millis(pause.unsigned_abs())),
    }
}

async fn one(process: &Process, fence: &Fence, kind: FleetKind) -> Result<(), Error> {
    let (name, fence) = (kind.as_str(), *fence);
    let asked = process.database(format!("ask for the last sweep of {name}"), move |world| {
        world.database.fleet_sweep_get(world.now, kind)
    });
    let before = asked.await?;
    let (mut ledger, mut confirmation) = ledger(process, fence, kind).await?;
    let listed = process.read_cloud(format!("list all {name}"), move |world| list(world, kind));
    let list = List::Whole(listed.await?);
    let mut absent = ledger.absent(&list);
    absent.sort_unstable();
    let wanted = process.database("ask who is wanted".to_owned(), move |world| {
        world.database.environment_wanted(&absent)
    });
    let wanted = wanted.await?.into_iter().collect();
    let Verdict {
        rows,
        withheld,
        missing,
        unlisted,
    } = judge(process, kind, &ledger, &list, &before, &wanted);
    let count = match &list {
        List::Whole(listed) => listed.len(),
        List::Truncated(_) => 0,
    };
    let publication = FleetPublication {
        began_at: Some(before.now),
        listed: count,
        withheld,
        rows: rows.clone(),
    };
    let found = FleetPublication {
        began_at: None,
        rows: Vec::new(),
        ..publication.clone()
    };
    let published = process.write(format!("publish a sweep of {count} {name}"), move |world| {
        world.database.fleet_publish(world.now, &fence, kind, publication)
    });
    published.await?;
    ledger.take(rows);
    let questions = Questions {
        began: before.now,
        missing,
        unlisted,
    };
    confirm(process, fence, kind, (&mut ledger, &mut confirmation), &questions, found).await?;
    process.memory().sweeper.ledgers.insert(name, (fence, ledger, confirmation));
    Ok(())
}

fn judge(
    process: &Process,
    kind: FleetKind,
    ledger: &Ledger,
    list: &List,
    before: &FleetSweep,
    wanted: &HashSet<EnvironmentId>,
) -> Verdict {
    let beside = Beside {
        kind,
        began: before.now,
        withheld: before.withheld.as_ref(),
        confirmed_at: before.confirmed_at,
        wanted,
    };
    ledger.judge(&process.setup.limits, list, &beside)
}

/// The ledger of before, unless it was made under another epoch: then it is read anew.
async fn ledger(process: &Process, fence: Fence, kind: FleetKind) -> Result<(Ledger, Confirmation), Error> {
    let name = kind.as_str();
    let remembered = process.memory().sweeper.ledgers.remove(name);
    if let Some((_, ledger, confirmation)) = remembered.filter(|(held, ..)| *held == fence) {
        return Ok((ledger, confirmation));
    }
    let rows = process.database(format!("read the ledger of {name}"), move |world| {
        world.database.fleet_list(kind)
    });
    Ok((Ledger::new(rows.await?), Confirmation::default()))
}

/// What is asked for by id after a list.
struct Questions {
    began: Timestamp,
    missing: Vec<String>,
    unlisted: Vec<String>,
}

async fn confirm(
    process: &Process,
    fence: Fence,
    kind: FleetKind,
    (ledger, confirmation): (&mut Ledger, &mut Confirmation),
    questions: &Questions,
    mut found: FleetPublication,
) -> Result<(), Error> {
    let missing = confirmation.next(&questions.missing, process.setup.limits.pause, process.now());
    for key in missing.iter().chain(questions.unlisted.iter().take(AT_ONCE)) {
        let Some(row) = ledger.get(key).cloned() else { continue };
        let asked = row.clone();
        let seen = process.read_cloud(format!("look at {key}"), move |world| look(world, kind, &asked));
        let answer = answered(kind, &row, seen.await?, questions.began);
        match &answer {
            Answer::Gone => confirmation.gone(key.clone(), process.now()),
            Answer::ListsLie => confirmation.there(),
            Answer::Unchanged | Answer::News(_) => {}
        }
        found.rows.extend(answer.news());
    }
    if !found.rows.is_empty() {
        let rows = found.rows.clone();
        let published = process.write("publish what was looked at".to_owned(), move |world| {
            world.database.fleet_publish(world.now, &fence, kind, found)
        });
        published.await?;
        ledger.take(rows);
    }
    if confirmation.is_complete(&questions.missing) {
        let confirmed = process.write("confirm what is missing".to_owned(), move |world| {
            world.database.fleet_confirm(world.now, &fence, kind)
        });
        confirmed.await?;
    }
    Ok(())
}

/// What DigitalOcean lists, or what it says that it lists.
fn list(world: &mut World, kind: FleetKind) -> BTreeMap<String, Listed> {
    let installation = world.installation.clone();
    let mut listed = match kind {
        FleetKind::Droplets => droplets(world, &installation),
        FleetKind::Firewalls => firewalls(world, &installation),
    };
    if world.dice.permille(world.faults.lying_list) {
        let keep = world.dice.between(0, 2);
        let mut place = 0;
        listed.retain(|_, _| {
            place += 1;
            place <= keep
        });
    }
    listed
}

fn droplets(world: &World, installation: &InstallationId) -> BTreeMap<String, Listed> {
    let all = world.cloud.list(world.now, &tags::installation(installation));
    let ours = all.iter().filter_map(|droplet| {
        let owner = tags::owner(droplet.tags.iter().map(String::as_str), installation)?;
        let seen = serde_json::to_value(read::seen(droplet, owner, installation)).ok()?;
        let environment = Some(owner);
        Some((droplet.id.to_string(), Listed { environment, seen }))
    });
    ours.collect()
}

fn firewalls(world: &World, installation: &InstallationId) -> BTreeMap<String, Listed> {
    let all = world.cloud.firewall_list(world.now);
    let ours = all.into_iter().filter_map(|firewall| {
        let name = firewall.spec.name.clone();
        let environment = Some(names::owner(installation, &name)?);
        let seen = serde_json::to_value(Known::from(firewall)).ok()?;
        Some((name, Listed { environment, seen }))
    });
    ours.collect()
}

fn look(world: &World, kind: FleetKind, row: &FleetRow) -> Option<Value> {
    match kind {
        FleetKind::Droplets => {
            let droplet = world.cloud.get(world.now, row.key.parse().ok()?).ok()?;
            serde_json::to_value(read::seen(&droplet, row.environment_id?, &world.installation)).ok()
        }
        FleetKind::Firewalls => {
            let firewall = world.cloud.firewall_get(world.now, row.seen.get("id")?.as_str()?)?;
            serde_json::to_value(Known::from(firewall)).ok()
        }
    }
}

/// What a process loads of the last sweeps: whole, for the shards that it holds.
pub fn follow(process: &Process, world: &World) -> Result<(), serde_json::Error> {
    let shards: Vec<u16> = process.memory().epochs.keys().copied().collect();
    for kind in [FleetKind::Droplets, FleetKind::Firewalls] {
        let sweep = world.database.fleet_sweep_get(world.now, kind);
        let loaded = process.memory().loaded.insert(kind.as_str(), (sweep.number, shards.clone()));
        // What was loaded already is not loaded again; only its age is news.
        let same = loaded.is_some_and(|(number, held)| number == sweep.number && held == shards);
        let rows = if same {
            Vec::new()
        } else {
            world.database.fleet_load(kind, &shards)
        };
        // Clocks may differ, so it is the age that travels; one sweep that is loaded twice does not become younger.
        let began = sweep.age.and_then(|age| process.now().checked_sub(age).ok());
        let trust = match &sweep.withheld {
            Some((since, reason)) if !process.setup.sabotage.breaker => Trust::Withheld {
                since: *since,
                reason: reason.as_str().into(),
            },
            Some(_) | None => Trust::Trusted,
        };
        match kind {
            FleetKind::Droplets => process.fleet.load(rows, !same, began, trust)?,
            FleetKind::Firewalls => process.firewalls.load(rows, !same, began, trust)?,
        }
    }
    Ok(())
}

/// The limits of the breaker; without that guard there are none.
pub fn limits(breaker: bool) -> Limits {
    let limits = Limits::default();
    if breaker {
        Limits {
            percent: u32::MAX,
            least: usize::MAX,
            ..limits
        }
    } else {
        limits
    }
}

/// A firewall as answers show it.
pub fn shown(id: &str, spec: &digitalocean::FirewallSpec, settled: bool) -> Firewall {
    Firewall {
        id: id.to_owned(),
        status: if settled {
            FirewallStatus::Succeeded
        } else {
            FirewallStatus::Waiting
        },
        created_at: None,
        pending_changes: Vec::new(),
        spec: spec.clone(),
    }
}
