use super::*;
use crate::commands::get::tests::{environments as listed_environments, instances as listed_instances};
use jiff::SignedDuration;
use model::{
    AgentReport, ConditionStatus, DesiredSet, DropletId, DropletVitals, EnvironmentDesiredState, EnvironmentPhase, Intent,
    IntentKind, IntentOutcome, ReceivedReport, RecordedFirewall, Stamp, Subject, Tombstone, Tools,
};
use std::{collections::BTreeMap, time::Duration};

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn settings() -> Settings {
    Settings::load(&BTreeMap::new(), None).unwrap()
}

fn holder() -> LeaseHolder {
    LeaseHolder {
        name: "host:4242".to_owned(),
        epoch: 7,
        expires_at: now() + SignedDuration::from_secs(9),
    }
}

fn intent(outcome: Option<IntentOutcome>) -> Intent {
    Intent {
        id: uuid::Uuid::from_u128(0x77).into(),
        environment_id: uuid::Uuid::from_u128(1).into(),
        kind: IntentKind::Create,
        epoch: 1,
        announced_at: ago(30),
        droplet_id: outcome.map(|_| DropletId(3_164_444)),
        enrolment_expires_at: now(),
        enrolled_key: None,
        outcome,
    }
}

/// The environments that `get`'s tests list: one that is well, with its tools, and one that waits and is paused.
fn known() -> (Known, Known) {
    let (Listing::Environments(mut rows), Listing::Instances(instances, catalog)) = (listed_environments(), listed_instances())
    else {
        panic!("other listings")
    };
    let (waiting, well) = (rows.pop().unwrap(), rows.pop().unwrap());
    let report = AgentReport {
        boot_id: uuid::Uuid::from_u128(0x88),
        sequence: 4,
        applied: Some(Stamp { epoch: 0, generation: 2 }),
        agent_version: "0.1.0".into(),
        vitals: DropletVitals {
            memory_total: 1024 * 1024 * 961,
            memory_available: 1024 * 1024 * 312,
            ..DropletVitals::default()
        },
        instances: Vec::new(),
        received_at: ago(2),
    };
    let tools = Tools {
        desired: Some(DesiredSet {
            environment_id: well.id,
            stamp: Stamp { epoch: 0, generation: 3 },
            instances: Vec::new(),
        }),
        report: Some(ReceivedReport { epoch: 0, report }),
        instances,
    };
    let firewall = RecordedFirewall {
        id: Some("9f2c".to_owned()),
        announced_at: ago(200),
        epoch: 0,
        ports: [31_000, 31_001].into(),
        closing: [(31_001, ago(5))].into(),
        state: ConditionStatus::True,
        reason: "InForce".into(),
        message: String::new(),
    };
    let known = |row, tools, firewall| Known {
        record: EnvironmentRecord {
            subject: Subject::Row(row),
            intent: Some(Box::new(intent(Some(IntentOutcome::Adopted)))),
            tools,
            firewall,
        },
        catalog: catalog.clone(),
        holder: Some(holder()),
        events: vec![crate::commands::events::tests::recorded(1, 2, ago(200))],
    };
    (
        known(well, Some(Box::new(tools)), Some(Box::new(firewall))),
        known(waiting, None, None),
    )
}

#[test]
fn pages() {
    let (well, waiting) = known();
    let tombstone = Known {
        record: EnvironmentRecord {
            subject: Subject::Tombstone(Tombstone {
                environment_id: uuid::Uuid::from_u128(1).into(),
                user_id: uuid::Uuid::from_u128(0x11).into(),
                droplet_id: Some(DropletId(3_164_444)),
                ip_address: None,
                agent_epoch: 1,
                deleted_at: ago(12),
            }),
            intent: None,
            tools: None,
            firewall: None,
        },
        catalog: Vec::new(),
        holder: None,
        events: Vec::new(),
    };
    let instance = instance::page(&well, &well.instances()[0], now());
    let pages = [well, waiting, tombstone].map(|known| environment::page(&known, &settings(), now()));
    insta::assert_snapshot!(format!("{}\n\n\n{instance}", pages.join("\n\n\n")));
}

/// What the waiting environment waits for, after this change of it.
fn waits(change: impl FnOnce(&mut Known)) -> Option<(String, String)> {
    let (_, mut known) = known();
    row(&mut known).spec.paused = false;
    row(&mut known).status.conditions = model::Conditions::default();
    change(&mut known);
    let row = row(&mut known).clone();
    let settings = Settings {
        lag_window: Duration::from_mins(2),
        launch_deadline: Duration::from_mins(10),
        stop_deadline: Duration::from_mins(1),
        ..settings()
    };
    let waiting = waits::environment(&known, &row, &settings, now())?;
    Some((waiting.what, waiting.goes_on))
}

fn row(known: &mut Known) -> &mut model::Environment {
    match &mut known.record.subject {
        Subject::Row(row) => row,
        Subject::Tombstone(_) => panic!("a tombstone"),
    }
}

fn set(known: &mut Known, kind: &str, status: ConditionStatus, reason: &str, message: &str) {
    row(known).status.conditions.set(kind, status, reason, message, 1, ago(20));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_waited_for_and_when_it_goes_on() {
    use ConditionStatus::{False, True};
    let told: Vec<String> = [
        (
            "as it should be",
            waits(|known| {
                set(known, "Ready", True, "Ready", "");
                set(known, "Reconciled", True, "Reconciled", "");
            }),
        ),
        (
            "gone as wanted",
            waits(|known| {
                row(known).spec.desired_state = EnvironmentDesiredState::Deleted;
                row(known).status.phase = EnvironmentPhase::Deleted;
                set(known, "Ready", False, "Deleted", "");
            }),
        ),
        ("nobody works", waits(|known| known.holder = None)),
        ("paused", waits(|known| row(known).spec.paused = true)),
        ("a new generation", waits(|known| row(known).generation = 5)),
        ("a fresh row", waits(|_| {})),
        (
            "an open intent",
            waits(|known| {
                known.record.intent = Some(Box::new(intent(None)));
                set(
                    known,
                    "DropletReady",
                    False,
                    "Creating",
                    "the droplet was announced and is not seen yet",
                );
            }),
        ),
        (
            "an agent that is not there yet",
            waits(|known| {
                set(known, "DropletReady", True, "Active", "");
                set(known, "AgentReady", False, "NotEnrolled", "the agent has not enrolled yet");
                set(
                    known,
                    "Ready",
                    False,
                    "Launching",
                    "the droplet or its agent is not ready yet",
                );
            }),
        ),
        (
            "tools that stop",
            waits(|known| {
                set(known, "Ready", False, "Deleting", "the tools are being stopped");
                set(
                    known,
                    "ToolsStopped",
                    False,
                    "Stopping",
                    "the agent was told to stop the tools",
                );
            }),
        ),
        (
            "no budget",
            waits(|known| {
                set(known, "DropletReady", False, "Creating", "");
                let message = "the request limit of digitalocean_token is reached; it goes on at 2026-01-02T03:05:00Z";
                set(known, "BudgetAvailable", False, "RequestLimitReached", message);
            }),
        ),
        (
            "a refusal",
            waits(|known| {
                row(known).status.phase = EnvironmentPhase::ErrorCreation;
                set(
                    known,
                    "Reconciled",
                    False,
                    "DropletLimit",
                    "the account's droplet limit is reached",
                );
            }),
        ),
        (
            "silence",
            waits(|known| {
                row(known).status.phase = EnvironmentPhase::Unresponsive;
                set(
                    known,
                    "AgentReady",
                    False,
                    "HeartbeatsMissed",
                    "three heartbeats or more were missed",
                );
            }),
        ),
    ]
    .into_iter()
    .map(|(case, waiting)| match waiting {
        Some((what, goes_on)) => format!("{case}\n  waits for {what}\n  goes on {goes_on}"),
        None => format!("{case}\n  waits for nothing"),
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"));
}
