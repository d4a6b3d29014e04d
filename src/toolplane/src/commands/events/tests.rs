use super::*;
use jiff::SignedDuration;
use model::{EnvironmentId, Event, EventType, InstanceId};

pub(in crate::commands) fn at(seconds: i64) -> Timestamp {
    "2026-01-02T03:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

/// An event that was last seen then, and first a minute before.
pub(in crate::commands) fn recorded(id: i64, count: i64, last_seen: Timestamp) -> RecordedEvent {
    RecordedEvent {
        id,
        event: Event {
            environment_id: Some(EnvironmentId(uuid::Uuid::from_u128(0x1c3a_af19 << 96))),
            instance_id: None,
            kind: EventType::Normal,
            reason: "DropletCreated".to_owned(),
            message: "droplet 17 is created in nyc3, size s-1vcpu-1gb".to_owned(),
            actor: "environment-reconciler".to_owned(),
            cause: "spec.desired_state of generation 1".to_owned(),
        },
        count,
        first_seen: last_seen - SignedDuration::from_mins(1),
        last_seen,
    }
}

#[test]
fn events_in_every_form() {
    let mut of_instance = recorded(2, 3, at(60));
    of_instance.event.instance_id = Some(InstanceId(uuid::Uuid::from_u128(0x3ba1_ab2d << 96)));
    of_instance.event.kind = EventType::Warning;
    of_instance.event.reason = "StatusChanged".to_owned();
    of_instance.event.message = "running -> error_runtime".to_owned();
    of_instance.event.cause = "status of generation 2".to_owned();
    let events = [recorded(1, 1, at(0)), of_instance];
    let mut shown = Vec::new();
    for output in [
        ReportOutput::Table,
        ReportOutput::Wide,
        ReportOutput::Json,
        ReportOutput::Yaml,
    ] {
        shown.push(format!("== {output:?}\n{}", render(&events, output, at(70), true)));
    }
    shown.push(format!("== none\n{}", render(&[], ReportOutput::Table, at(70), true)));
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn a_kind_without_a_name_takes_what_is_about_that_kind() {
    let mut event = recorded(1, 1, at(0)).event;
    let environments = About::Kind(crate::cli::Describable::Environment);
    let instances = About::Kind(crate::cli::Describable::Instance);
    assert!(environments.takes(&event) && !instances.takes(&event) && About::Everything.takes(&event));
    event.instance_id = Some(InstanceId::random());
    assert!(!environments.takes(&event) && instances.takes(&event));
}
