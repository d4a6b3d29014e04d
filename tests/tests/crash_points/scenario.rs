//! What users do and what happens to droplets, and what has to be true in the end, whatever crashed in between.

use crate::{watch::another, world::World};
use agent_api::TOOL_PORTS;
use digitalocean::{DropletAction, InboundRule, Ports, Resource};
use model::{ConditionStatus, EnvironmentDesiredState, EnvironmentPhase, InstanceDesiredState, InstancePhase, tags};
use simulator::{Touched, What};
use std::fmt;

/// What the droplet is resized to.
const LARGER: &str = "s-2vcpu-2gb";

/// In the order of one life: each begins where the one before has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scenario {
    /// The row comes, and then a replica, which finds it.
    Create,
    /// A tool is added.
    Add,
    /// The tool gets another version.
    Upgrade,
    /// The environment gets another size.
    Resize,
    /// Somebody takes tags off the droplet, among them the one that says whose it is.
    DriftUntagged,
    /// Somebody gives the droplet another name.
    DriftRenamed,
    /// Somebody switches the droplet off.
    DriftOff,
    /// Somebody destroys the droplet.
    DriftGone,
    /// The environment is disabled, and another installation takes the droplet over in the moment in which it is to be deleted.
    Taken,
    /// The environment is enabled again, and the droplet given back.
    Back,
    /// The environment is disabled.
    Delete,
    /// And enabled again.
    Enable,
    /// The tool is removed.
    Remove,
    /// And wanted again.
    Return,
    /// The row is deleted, while the tool runs.
    Tombstone,
}

impl Scenario {
    pub(crate) const LIFE: [Self; 15] = [
        Self::Create,
        Self::Add,
        Self::Upgrade,
        Self::Resize,
        Self::DriftUntagged,
        Self::DriftRenamed,
        Self::DriftOff,
        Self::DriftGone,
        Self::Taken,
        Self::Back,
        Self::Delete,
        Self::Enable,
        Self::Remove,
        Self::Return,
        Self::Tombstone,
    ];

    /// Whether the environment has the same droplet in the end as in the beginning.
    fn keeps_droplet(self) -> bool {
        match self {
            Self::Create | Self::DriftGone | Self::Delete | Self::Enable | Self::Tombstone => false,
            Self::Add
            | Self::Upgrade
            | Self::Resize
            | Self::DriftUntagged
            | Self::DriftRenamed
            | Self::DriftOff
            | Self::Taken
            | Self::Back
            | Self::Remove
            | Self::Return => true,
        }
    }

    /// How many droplets are made in it, however often somebody crashes: one that was made is adopted, and not made again.
    fn creates(self) -> usize {
        match self {
            Self::Create | Self::DriftGone | Self::Enable => 1,
            Self::Add
            | Self::Upgrade
            | Self::Resize
            | Self::DriftUntagged
            | Self::DriftRenamed
            | Self::DriftOff
            | Self::Taken
            | Self::Back
            | Self::Delete
            | Self::Remove
            | Self::Return
            | Self::Tombstone => 0,
        }
    }

    /// Does what the scenario begins with.
    pub(crate) async fn begin(self, world: &mut World) {
        world.kept = self.keeps_droplet().then(|| world.droplets()[0].id);
        world.ended_boot = None;
        world.began = world.simulator.journal_next();
        match self {
            Self::Create => {
                world.stop().await;
                world.tool = None;
                world.want(|_| ()).await;
                world.settle_namesake().await;
            }
            Self::Add => {
                world.tool = Some("1");
                world.want_tool(|_| ()).await;
            }
            Self::Upgrade => {
                world.tool = Some("2");
                world.want_tool(|tool| tool.version_to_run = "2".into()).await;
            }
            Self::Resize => world.want(|environment| environment.size = LARGER.into()).await,
            Self::DriftUntagged => {
                let droplet = [Resource::droplet(world.droplets()[0].id)];
                for tag in [tags::environment(world.id()), tags::TOOLPLANE.to_owned()] {
                    world.cloud.tag_resources_remove(&tag, &droplet).await.unwrap();
                }
            }
            Self::DriftRenamed => {
                let droplet = world.droplets()[0].id;
                let name = "renamed".to_owned();
                world
                    .cloud
                    .droplet_action(droplet, &DropletAction::Rename { name })
                    .await
                    .unwrap();
                while world.droplets().iter().any(|droplet| droplet.name != "renamed") {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
            Self::DriftOff => {
                world.ended_boot = world.boot().await;
                let droplet = world.droplets()[0].id;
                world.cloud.droplet_action(droplet, &DropletAction::PowerOff).await.unwrap();
                while world.droplets().iter().any(|droplet| droplet.status == "active") {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
            Self::DriftGone => {
                let droplet = world.droplets()[0].id;
                world.simulator.destroy(droplet).await;
            }
            Self::Remove => {
                world.tool = None;
                world
                    .want_tool(|tool| tool.desired_state = InstanceDesiredState::Removed)
                    .await;
            }
            Self::Return => {
                world.tool = Some("2");
                world
                    .want_tool(|tool| tool.desired_state = InstanceDesiredState::Running)
                    .await;
            }
            Self::Taken => {
                world.watch.covet(world.droplets()[0].id);
                world.want_state(EnvironmentDesiredState::Deleted).await;
            }
            Self::Back => {
                // In this order: what is ours and disabled would be deleted, and is by a pass that began before.
                world.want_state(EnvironmentDesiredState::Active).await;
                world.heard().await;
                world.watch.give_back(world.droplets()[0].id).await;
            }
            Self::Delete => world.want_state(EnvironmentDesiredState::Deleted).await,
            Self::Enable => world.want_state(EnvironmentDesiredState::Active).await,
            Self::Tombstone => world.delete_row().await,
        }
    }

    /// Whether everything is as it has to be in the end, or what is not.
    pub(crate) async fn reached(self, world: &World) -> Result<(), String> {
        let droplets = world.droplets();
        if let Some(kept) = world.kept {
            expect("the droplet", droplets.first().map(|droplet| droplet.id), Some(kept))?;
        }
        match self {
            Self::Create
            | Self::Add
            | Self::Upgrade
            | Self::Resize
            | Self::DriftUntagged
            | Self::DriftRenamed
            | Self::DriftOff
            | Self::DriftGone
            | Self::Back
            | Self::Enable
            | Self::Remove
            | Self::Return => {
                active(world, &droplets).await?;
                if world.ended_boot.is_some() && world.boot().await == world.ended_boot {
                    return Err("the agent has not reported since its droplet was switched off".to_owned());
                }
                match (self, world.tool) {
                    (_, Some(version)) => tool(world, InstancePhase::Running, Some(version)).await?,
                    (Self::Remove, None) => tool(world, InstancePhase::Removed, None).await?,
                    (_, None) => {}
                }
                ports(world, usize::from(world.tool.is_some())).await
            }
            Self::Taken => taken(world, &droplets).await,
            Self::Delete => {
                let row = world.row().await.ok_or("there is no row")?;
                expect("phase", row.status.phase, EnvironmentPhase::Deleted)?;
                expect("observed generation", row.status.observed_generation, row.generation)?;
                expect("droplets", droplets.len(), 0)?;
                no_firewall(world).await
            }
            Self::Tombstone => {
                expect("record", world.record().await.map(|record| record.subject), None)?;
                expect("droplets", droplets.len(), 0)?;
                no_firewall(world).await
            }
        }
    }

    /// What must never have happened.
    pub(crate) async fn audit(self, world: &World) -> Result<(), String> {
        world.nothing_forbidden()?;
        let foreign = world.foreign.iter().map(|droplet| droplet.id);
        let known = world.account();
        for droplet in &world.foreign {
            if !known.contains(droplet) {
                return Err(format!("the foreign droplet {} was touched", droplet.id));
            }
        }
        let firewalls = world.cloud.firewall_list().await.map_err(|error| error.to_string())?;
        for foreign in &world.foreign_firewalls {
            if !firewalls.iter().any(|firewall| firewall.spec == *foreign) {
                return Err(format!("the foreign firewall {} was touched", foreign.name));
            }
        }
        let foreign: Vec<u64> = foreign.collect();
        let is_theirs = |touched: &Touched| match touched.kind {
            simulator::Resource::Droplet => foreign.iter().any(|id| id.to_string() == touched.id),
            simulator::Resource::Firewall => world.foreign_firewalls.iter().any(|firewall| firewall.name == touched.name),
        };
        if let Some(entry) = world.simulator.foreign(world.settled, |touched| !is_theirs(touched)).first() {
            return Err(format!("what is not ours was spoken of: {:?}", entry.what));
        }
        expect("droplets that were made", world.creates().len(), self.creates())?;
        for entry in world.simulator.journal(0) {
            if let What::Twins { droplets, .. } = &entry.what
                && droplets.iter().filter(|droplet| !foreign.contains(droplet)).count() > 1
            {
                return Err(format!("two droplets of one environment: {droplets:?}"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Add => "add",
            Self::Upgrade => "upgrade",
            Self::Resize => "resize",
            Self::DriftUntagged => "drift-untagged",
            Self::DriftRenamed => "drift-renamed",
            Self::DriftOff => "drift-off",
            Self::DriftGone => "drift-gone",
            Self::Taken => "taken",
            Self::Back => "back",
            Self::Delete => "delete",
            Self::Enable => "enable",
            Self::Remove => "remove",
            Self::Return => "return",
            Self::Tombstone => "tombstone",
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what is compared is made on the spot")]
fn expect<T: PartialEq + fmt::Debug>(what: &str, is: T, wanted: T) -> Result<(), String> {
    if is == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {is:?} and not {wanted:?}"))
    }
}

/// One droplet, which is the recorded one, and everything that is said of it is said of the latest generation.
async fn active(world: &World, droplets: &[simulator::DropletInfo]) -> Result<(), String> {
    let [droplet] = droplets else {
        return Err(format!("droplets: {droplets:?}"));
    };
    let record = world.record().await.ok_or("there is no record")?;
    let row = world.row().await.ok_or("there is no row")?;
    expect("droplet", droplet.status.as_str(), "active")?;
    expect("size", droplet.size.as_str(), &row.spec.size)?;
    expect("name", &droplet.name, &tags::droplet_name(row.id))?;
    let owner = tags::owner(droplet.tags.iter().map(String::as_str), world.installation());
    expect("owner", owner, Some(row.id))?;
    expect("tagged", droplet.tags.iter().any(|tag| tag == tags::TOOLPLANE), true)?;
    expect("phase", row.status.phase, EnvironmentPhase::Active)?;
    expect("recorded droplet", row.status.droplet_id.map(|id| id.0), Some(droplet.id))?;
    expect("observed generation", row.status.observed_generation, row.generation)?;
    for condition in ["Ready", "Reconciled", "AgentReady", "FirewallReady"] {
        if !row.status.conditions.holds(condition) {
            return Err(format!("{condition}: {:?}", row.status.conditions.get(condition)));
        }
    }
    let intent = record.intent.ok_or("there is no intent")?;
    expect("outcome", intent.outcome, Some(model::IntentOutcome::Adopted))?;
    expect("intent's droplet", intent.droplet_id.map(|id| id.0), Some(droplet.id))
}

/// The environment's droplet is another's, stays as it is, and the row says why.
async fn taken(world: &World, droplets: &[simulator::DropletInfo]) -> Result<(), String> {
    let [droplet] = droplets else {
        return Err(format!("droplets: {droplets:?}"));
    };
    let row = world.row().await.ok_or("there is no row")?;
    expect("droplet", droplet.status.as_str(), "active")?;
    let theirs = tags::installation(&another());
    expect("taken over", droplet.tags.contains(&theirs), true)?;
    expect("phase", row.status.phase, EnvironmentPhase::ErrorDeletion)?;
    expect("recorded droplet", row.status.droplet_id.map(|id| id.0), Some(droplet.id))?;
    expect("observed generation", row.status.observed_generation, row.generation)?;
    ports(world, 0).await
}

async fn tool(world: &World, phase: InstancePhase, version: Option<&str>) -> Result<(), String> {
    let record = world.record().await.ok_or("there is no record")?;
    let tools = record.tools.ok_or("there are no tools")?;
    let [tool] = &tools.instances[..] else {
        return Err(format!("tools: {:?}", tools.instances));
    };
    expect("tool", tool.status.phase, phase)?;
    expect("version", tool.status.actual_running_version.as_deref(), version)?;
    expect("tool's observed generation", tool.status.observed_generation, tool.generation)
}

/// The firewalls of the environment, with the number of tools' ports that each lets in.
async fn environment_firewalls(world: &World) -> Result<Vec<usize>, String> {
    let firewalls = world.cloud.firewall_list().await.map_err(|error| error.to_string())?;
    let environment = world.id().to_string();
    let ours = firewalls.iter().filter(|firewall| firewall.spec.name.contains(&environment));
    let tools = |rule: &&InboundRule| matches!(rule.ports, Ports::One(port) if TOOL_PORTS.contains(&port));
    Ok(ours
        .map(|firewall| firewall.spec.inbound_rules.iter().filter(tools).count())
        .collect())
}

/// How many ports of tools are open. None may be so with a firewall that lets nothing in, or without one.
async fn ports(world: &World, wanted: usize) -> Result<(), String> {
    let firewalls = environment_firewalls(world).await?;
    if firewalls.len() > 1 {
        return Err(format!("{} firewalls", firewalls.len()));
    }
    expect("open ports", firewalls.iter().sum(), wanted)?;
    let record = world.record().await.ok_or("there is no record")?;
    let firewall = record.firewall.ok_or("no firewall is on record")?;
    expect("ports on record", firewall.ports.len(), wanted)?;
    expect("ports to be closed", firewall.closing.len(), 0)?;
    expect("firewall", firewall.state, ConditionStatus::True)
}

async fn no_firewall(world: &World) -> Result<(), String> {
    expect("firewalls", environment_firewalls(world).await?, Vec::new())
}
