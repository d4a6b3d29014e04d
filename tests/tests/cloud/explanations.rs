//! Whatever is done to the outside is told, with its cause.

use crate::behind_our_back::{act, running};
use digitalocean::{DropletAction, Resource};
use e2e::{Rehearsal, eventually};
use effects::{Effect, Effects, Moment, Witness};
use futures::{FutureExt, future::BoxFuture};
use jiff::SignedDuration;
use model::{EnvironmentId, tags};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Each effect, and the reasons of the events that tell of it.
const TOLD: &[(&str, &[&str])] = &[
    ("digitalocean.droplet_create", &["DropletCreated"]),
    ("digitalocean.droplet_delete", &["DropletDeleted", "OrphanDeleted"]),
    (
        "digitalocean.droplet_action",
        &[
            "DropletPoweredOn",
            "DropletPoweredOff",
            "DropletShutDown",
            "DropletResizing",
            "DropletRenamed",
        ],
    ),
    ("digitalocean.tag_resources_add", &["DropletTagged"]),
    ("digitalocean.tag_create", &["TagEnsured", "DropletTagged"]),
    ("digitalocean.project_resources_assign", &["DropletAssigned"]),
    ("digitalocean.firewall_create", &["FirewallCreated"]),
    ("digitalocean.firewall_update", &["FirewallUpdated"]),
    ("digitalocean.firewall_delete", &["FirewallDeleted"]),
    ("postgres.intent_announce", &["CreateAnnounced"]),
    ("postgres.intent_droplet", &["DropletCreated", "DropletFound"]),
    (
        "postgres.intent_resolve",
        &["CreateSeen", "CreateRefused", "CreateLost", "CreateAbandoned"],
    ),
    ("postgres.tombstone_droplet_gone", &["DropletGone"]),
    ("postgres.tombstone_finish", &["TombstoneFinished"]),
    ("postgres.firewall_announce", &["FirewallAnnounced", "PortsAnnounced"]),
    ("postgres.firewall_settle", &["PortsSettled"]),
    ("postgres.firewall_close", &["PortsClosing", "PortsKept"]),
    ("postgres.firewall_forget", &["FirewallForgotten"]),
    ("postgres.desired_set_store", &["DesiredSetStored"]),
    ("agent.desired_set_put", &["DesiredSetPushed"]),
];

/// Of these each single one is told. Others may come to nothing, because the record moved on or the agent holds more, and are not.
const EACH_TOLD: &[&str] = &[
    "digitalocean.droplet_create",
    "digitalocean.droplet_delete",
    "postgres.intent_announce",
    "postgres.intent_droplet",
    "postgres.tombstone_finish",
];

/// What is no effect on what users have: who works, what was seen, what may be sent, and what is told itself.
const BOOKKEEPING: &[&str] = &[
    "postgres.event_record",
    "postgres.event_prune",
    "postgres.environment_status_write",
    "postgres.instance_status_write",
    "postgres.firewall_state_write",
    "postgres.heartbeat_record",
    "postgres.intent_enrol",
    "postgres.fleet_publish",
    "postgres.fleet_confirm",
    "postgres.fleet_failure",
    "postgres.lease_hold",
    "postgres.lease_leave",
    "postgres.lease_release",
    "postgres.write_refused",
    "postgres.requests_take",
    "postgres.requests_settle",
    "postgres.requests_block",
];

/// Counts what was done.
#[derive(Default)]
struct Done(Mutex<BTreeMap<String, u64>>);

impl Witness for Done {
    fn moment(&self, effect: Effect, moment: Moment<'_>) -> BoxFuture<'static, ()> {
        if let (true, Moment::After(Ok(()))) = (effect.mutating, moment) {
            *self.0.lock().unwrap().entry(effect.to_string()).or_default() += 1;
        }
        std::future::ready(()).boxed()
    }
}

/// One life with everything in it: a create whose answer is lost, tools that come, change and go, what somebody does to the
/// droplet and to the firewall, another size, an orphan, the row's deletion. Whatever was done to the outside has its event, and
/// every event has a cause.
pub(crate) async fn every_effect_has_an_event_with_its_cause(mut rehearsal: Rehearsal) {
    let done = Arc::new(Done::default());
    rehearsal.config.effects = Effects::witnessed(Arc::clone(&done) as Arc<dyn Witness>);
    rehearsal.config.environment.lag_window = SignedDuration::from_secs(2);
    let lost = EnvironmentId::random();
    crate::orphans::leave(&rehearsal, lost).await;
    rehearsal.simulator.fault(simulator::FaultRule::next(
        "POST",
        "/v2/droplets",
        simulator::Fault::DropAfter,
    ));
    rehearsal.start().await;
    let (environment, instance) = running(&rehearsal).await;
    // One whose answer is heard.
    let second = rehearsal.rows.insert_environment().await;
    rehearsal.until_ready(&second).await;

    let droplet = rehearsal.droplet(&environment).await;
    disturb(&rehearsal, &environment, droplet).await;
    let set = |what: &str| format!("update account_tool_environments set {what} where id = '{environment}'");
    rehearsal.rows.sql.must(&set("size_slug = 's-2vcpu-2gb'")).await;
    rehearsal.until_told(&environment, "DropletResized").await;
    rehearsal.rows.until_instance(&instance, "running").await;
    let remove = format!("update account_tool_instances set desired_state = 'removed' where id = '{instance}'");
    rehearsal.rows.sql.must(&remove).await;
    rehearsal.rows.until_instance(&instance, "removed").await;
    rehearsal
        .rows
        .sql
        .must(&format!("delete from account_tool_environments where id = '{environment}'"))
        .await;
    rehearsal.until_told(&environment, "TombstoneFinished").await;
    rehearsal.until_told(&lost.to_string(), "OrphanDeleted").await;
    rehearsal.stop().await;

    let events = rehearsal.toolplane_json(&["events", "--limit", "0"]).await;
    let events = events["items"].as_array().unwrap();
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    for event in events {
        assert!(
            !text(event, "cause").is_empty() && !text(event, "message").is_empty(),
            "{event}"
        );
    }
    let reasons: BTreeMap<String, u64> = events.iter().fold(BTreeMap::new(), |mut reasons, event| {
        *reasons.entry(text(event, "reason")).or_default() += event["count"].as_u64().unwrap();
        reasons
    });
    let done = done.0.lock().unwrap().clone();
    untold(&done, &reasons);
    let never: Vec<&str> = TOLD
        .iter()
        .map(|(effect, _)| *effect)
        .filter(|effect| !done.contains_key(*effect))
        .collect();
    // Tags are there by then, and projects have a story of their own.
    assert_eq!(
        never,
        ["digitalocean.project_resources_assign"],
        "the life has everything in it"
    );
}

/// Fails for an effect that nobody tells of.
fn untold(done: &BTreeMap<String, u64>, reasons: &BTreeMap<String, u64>) {
    for (effect, times) in done.iter().filter(|(effect, _)| !BOOKKEEPING.contains(&effect.as_str())) {
        let told = TOLD.iter().find(|(known, _)| known == effect).map(|(_, told)| *told);
        let told = told.unwrap_or_else(|| panic!("which event tells of {effect}?"));
        let events: u64 = told.iter().filter_map(|reason| reasons.get(*reason)).sum();
        let least = if EACH_TOLD.contains(&effect.as_str()) { *times } else { 1 };
        assert!(
            events >= least,
            "{effect} was done {times} times, and {told:?} are {events} of {reasons:?}"
        );
    }
}

/// Takes a tag off the droplet and switches it off, detaches the firewall, and waits until all is well again.
async fn disturb(rehearsal: &Rehearsal, environment: &str, droplet: u64) {
    let tag = tags::installation(rehearsal.installation());
    rehearsal
        .console
        .tag_resources_remove(&tag, &[Resource::droplet(droplet)])
        .await
        .unwrap();
    rehearsal.until_told(environment, "DropletTagged").await;
    act(rehearsal, droplet, DropletAction::PowerOff).await;
    rehearsal.until_told(environment, "DropletPoweredOn").await;
    let name = fleet::names::environment(rehearsal.installation(), environment.parse().unwrap());
    eventually("the firewall to be detached", || async {
        let firewalls = rehearsal.console.firewall_list().await.map_err(|error| error.to_string())?;
        let ours = firewalls.into_iter().find(|firewall| firewall.spec.name == name);
        let mut ours = ours.ok_or("there is none")?;
        ours.spec.droplet_ids.clear();
        let edited = rehearsal.console.firewall_update(&ours.id, &ours.spec).await;
        edited.map_err(|error| error.to_string())
    })
    .await;
    rehearsal.until_told(environment, "FirewallUpdated").await;
    rehearsal.until_ready(environment).await;
}
