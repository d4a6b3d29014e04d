use super::*;
use jiff::SignedDuration;
use model::{
    CatalogId, ConditionStatus, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase, EnvironmentSpec, EnvironmentStatus,
    Event, EventType, Instance, InstanceDesiredState, InstanceId, InstanceSpec, InstanceStatus, Subject, Tombstone, Tools,
    UserId,
};

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn row() -> model::Environment {
    model::Environment {
        id: EnvironmentId::random(),
        generation: 1,
        spec: EnvironmentSpec {
            user_id: UserId::random(),
            region: "nyc3".into(),
            size: "s-1vcpu-1gb".into(),
            image: "ubuntu-22-04-x64".into(),
            desired_state: EnvironmentDesiredState::Active,
            paused: false,
        },
        status: EnvironmentStatus {
            observed_at: Some(ago(180)),
            ..EnvironmentStatus::default()
        },
        last_heartbeat_at: None,
        created_at: ago(300),
        updated_at: ago(180),
    }
}

fn record(row: model::Environment) -> EnvironmentRecord {
    EnvironmentRecord {
        subject: Subject::Row(row),
        intent: None,
        tools: None,
        firewall: None,
    }
}

fn with_tool(name: &str) -> EnvironmentRecord {
    let row = row();
    let instance = Instance {
        id: InstanceId::random(),
        generation: 1,
        spec: InstanceSpec {
            environment_id: row.id,
            catalog_id: CatalogId::random(),
            instance_name: Some(name.to_owned()),
            version_to_run: "1.0.0".to_owned(),
            config_values_override: serde_json::json!({}),
            desired_state: InstanceDesiredState::Running,
            paused: false,
        },
        status: InstanceStatus {
            observed_at: Some(ago(7)),
            ..InstanceStatus::default()
        },
        created_at: ago(300),
        updated_at: ago(7),
    };
    let tools = Tools {
        instances: vec![instance],
        ..Tools::default()
    };
    EnvironmentRecord {
        tools: Some(Box::new(tools)),
        ..record(row)
    }
}

fn event(message: &str, cause: &str) -> RecordedEvent {
    RecordedEvent {
        id: 41,
        event: Event {
            environment_id: Some(EnvironmentId::random()),
            instance_id: None,
            kind: EventType::Warning,
            reason: "DropletGone".to_owned(),
            message: message.to_owned(),
            actor: "environment-reconciler".to_owned(),
            cause: cause.to_owned(),
        },
        count: 3,
        first_seen: ago(200),
        last_seen: ago(75),
    }
}

fn fleet(records: &[EnvironmentRecord]) -> String {
    Fleet::new(records, false, None, now()).render().unwrap()
}

#[test]
fn every_status_stands_beside_its_age() {
    let page = fleet(&[with_tool("Reasoning")]);
    assert!(
        page.contains("pending_creation") && page.contains("seen 3m ago, heartbeat never"),
        "{page}"
    );
    assert!(page.contains("pending_start") && page.contains("7s ago"), "{page}");
}

#[test]
fn what_users_and_machines_write_is_text_and_never_markup() {
    let evil = "<script>alert(1)</script>";
    let mut refused = row();
    refused.status.error_message = Some(evil.to_owned());
    refused
        .status
        .conditions
        .set("FleetTrusted", ConditionStatus::False, evil, evil, 1, now());
    let events = [event(evil, evil)];
    for page in [
        fleet(&[with_tool(evil), record(refused.clone())]),
        Environment::new(&record(refused), &events, now()).render().unwrap(),
        Events::new(&events, None, false, false, now()).render().unwrap(),
    ] {
        assert!(!page.contains("<script>") && page.contains("alert(1)"), "{page}");
    }
}

#[test]
fn an_event_says_why_how_often_and_how_long_ago() {
    let page = Events::new(
        &[event("droplet 17 is gone", "droplet 17 was not seen")],
        None,
        false,
        false,
        now(),
    )
    .render()
    .unwrap();
    for part in [
        "1m ago, 3 times",
        "DropletGone",
        "droplet 17 is gone",
        "because: droplet 17 was not seen",
        "environment-reconciler",
    ] {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
}

#[test]
fn what_does_not_hold_is_told_with_its_age_until_the_environment_is_gone_as_wanted() {
    let mut row = row();
    let conditions = &mut row.status.conditions;
    conditions.set("Ready", ConditionStatus::True, "Ready", "", 1, ago(60));
    conditions.set("AgentReady", ConditionStatus::False, "NotEnrolled", "not yet", 1, ago(90));
    let page = fleet(&[record(row.clone())]);
    assert!(page.contains("AgentReady: NotEnrolled") && page.contains("for 1m"), "{page}");
    assert!(!page.contains("Ready: Ready"), "{page}");
    row.status.phase = EnvironmentPhase::Deleted;
    assert!(!fleet(&[record(row)]).contains("NotEnrolled"));
}

#[test]
fn what_holds_up_many_is_told_once_above_all() {
    let records: Vec<EnvironmentRecord> = (0..3)
        .map(|number| {
            let mut row = row();
            let message = if number < 2 {
                "5 of 7 droplets vanished"
            } else {
                "4 of 7 droplets vanished"
            };
            let conditions = &mut row.status.conditions;
            conditions.set(
                "FleetTrusted",
                ConditionStatus::False,
                "MassDrift",
                message,
                1,
                ago(30 + number),
            );
            record(row)
        })
        .collect();
    let page = fleet(&records);
    let banner = "5 of 7 droplets vanished <span class=\"soft\">(3 environments of this page, since 32s ago)";
    assert!(page.contains(banner), "{page}");
    assert!(!fleet(&[record(row())]).contains("class=\"banner"));
}

#[test]
fn pages_say_where_the_next_one_is() {
    let next = EnvironmentId::random();
    let page = Fleet::new(&[record(row())], true, Some(next), now()).render().unwrap();
    assert!(
        page.contains(&format!("href=\"/?after={next}\"")) && page.contains("First page"),
        "{page}"
    );
    let environment = EnvironmentId::random();
    let page = Events::new(&[event("m", "c")], Some(environment), true, true, now())
        .render()
        .unwrap();
    let link = format!("/events?environment={environment}&before=2026-01-02T03:02:50Z&id=41");
    assert!(page.replace("&#38;", "&").contains(&link), "{page}");
}

#[test]
fn a_tombstone_is_shown_as_what_it_is() {
    let tombstone = EnvironmentRecord {
        subject: Subject::Tombstone(Tombstone {
            environment_id: EnvironmentId::random(),
            user_id: UserId::random(),
            droplet_id: Some(model::DropletId(17)),
            ip_address: None,
            agent_epoch: 1,
            deleted_at: ago(5),
        }),
        ..record(row())
    };
    let page = fleet(&[tombstone]);
    assert!(
        page.contains("row deleted") && page.contains("droplet 17") && page.contains("5s ago"),
        "{page}"
    );
}
