//! Tables, and properties over a model of the engine.

use super::*;
use crate::container::ContainerId;
use model::{InstanceId, container::ContainerDefaults};
use runtime::Error;

mod world;

const IMAGE: &str = "acme/echo:1";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn wanted(run: RunState) -> Wanted {
    let defaults = ContainerDefaults {
        container_port: Some(8080),
        ..ContainerDefaults::default()
    };
    Wanted::Instance(DesiredInstance {
        instance_id: InstanceId(uuid::Uuid::from_u128(7)),
        generation: 4,
        run,
        version: "1".to_owned(),
        port: 31_000,
        container: defaults.into_spec(IMAGE.to_owned()),
    })
}

fn image() -> Image {
    Image {
        id: "sha256:aa".to_owned(),
        digest: "sha256:bb".to_owned(),
        entrypoint: vec!["/echo".to_owned()],
        arguments: Vec::new(),
    }
}

/// A container of the current specification, started at second 0.
fn container(name: &str, lifecycle: Lifecycle) -> Container {
    let Wanted::Instance(instance) = wanted(RunState::Running) else {
        unreachable!()
    };
    Container {
        id: ContainerId(name.to_owned()),
        instance: instance.instance_id,
        generation: 4,
        spec_hash: spec_hash::of(&instance.container),
        version: Some("label".to_owned()),
        image_digest: Some("sha256:bb".to_owned()),
        grace_seconds: 9,
        created: at(0),
        address: Some(([127, 0, 0, 1], 40_000).into()),
        lifecycle,
        readiness: Readiness::Unprobed,
    }
}

fn ready(name: &str) -> Container {
    Container {
        readiness: Readiness::Ready,
        ..container(name, Lifecycle::Running { since: at(0) })
    }
}

/// A container of an earlier specification.
fn old(container: Container) -> Container {
    Container {
        spec_hash: "v1:old".to_owned(),
        version: Some("0".to_owned()),
        ..container
    }
}

fn exited(name: &str, code: i64, at_second: i64, ran_for: i64) -> Container {
    let exit = Exit {
        code,
        out_of_memory: false,
        at: at(at_second),
        ran_for: SignedDuration::from_secs(ran_for),
        last_output: "it broke".to_owned(),
    };
    container(name, Lifecycle::Exited(exit))
}

fn observed(containers: Vec<Container>) -> Observed {
    Observed {
        containers: if containers.is_empty() {
            Observation::Absent
        } else {
            Observation::Present(containers)
        },
        trouble: None,
        image: Observation::Present(image()),
        pull: None,
        network: Observation::Present(()),
        last: Verdict::default(),
    }
}

/// What the board says after a plan.
fn written(plan: &Plan, before: &Observed) -> Verdict {
    plan.status.clone().unwrap_or_else(|| before.last.clone())
}

fn report(plan: &Plan) -> &InstanceReport {
    plan.status.as_ref().unwrap().report.as_ref().unwrap()
}

/// One lower-case word for each action.
fn words(plan: &Plan) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::PullImage { .. } => "pull".to_owned(),
        Action::CreateNetwork => "network".to_owned(),
        Action::CreateContainer { .. } => "create".to_owned(),
        Action::StartContainer(Target::Created) => "start".to_owned(),
        Action::StartContainer(Target::Observed(id)) => format!("start {id}"),
        Action::StopContainer { id, .. } => format!("stop {id}"),
        Action::UnpauseContainer { id } => format!("unpause {id}"),
        Action::RemoveContainer { id } => format!("remove {id}"),
    };
    plan.actions.iter().map(word).collect()
}

/// Decides again after what the first plan says was written.
fn after(wanted: &Wanted, observed: &Observed, now: Timestamp) -> (Plan, Observed) {
    let plan = decide(wanted, observed, now);
    let next = Observed {
        last: written(&plan, observed),
        ..observed.clone()
    };
    (plan, next)
}

#[test]
fn one_container_at_a_time() {
    let running = wanted(RunState::Running);
    let paused = container("p", Lifecycle::Paused);
    let older = Container {
        created: at(-5),
        ..ready("older")
    };
    for (name, containers, expected) in [
        ("nothing yet", vec![], vec!["create", "start"]),
        ("never started", vec![container("c", Lifecycle::Created)], vec!["start c"]),
        ("as wanted", vec![ready("c")], vec![]),
        ("frozen", vec![paused], vec!["unpause p"]),
        ("rebooted", vec![exited("c", 143, 0, 5)], vec!["start c"]),
        ("one too many", vec![older, ready("c")], vec!["stop older", "remove older"]),
        (
            "one that runs beats a younger one",
            vec![ready("c"), exited("x", 0, 0, 1)],
            vec!["remove x"],
        ),
        (
            "an earlier specification",
            vec![old(ready("o"))],
            vec!["stop o", "remove o", "create", "start"],
        ),
        (
            "a stopped one of an earlier specification",
            vec![old(exited("o", 0, 0, 1))],
            vec!["remove o", "create", "start"],
        ),
        (
            "dead",
            vec![container("d", Lifecycle::Broken)],
            vec!["remove d", "create", "start"],
        ),
        ("being removed", vec![container("d", Lifecycle::Removing)], vec![]),
    ] {
        let (first, next) = after(&running, &observed(containers), at(10));
        let stops = expected.iter().any(|word| word.starts_with("stop"));
        let plan = if stops {
            assert_eq!(words(&first), [""; 0], "{name}: nothing is stopped before it is said");
            decide(&running, &next, at(10))
        } else {
            first
        };
        assert_eq!(words(&plan), expected, "{name}");
    }
}

#[test]
fn stopped_and_removed_are_different() {
    for (name, wanted, containers, expected, state) in [
        (
            "stop",
            wanted(RunState::Stopped),
            vec![ready("c")],
            vec!["stop c"],
            Some(InstanceState::Stopping),
        ),
        (
            "stopped",
            wanted(RunState::Stopped),
            vec![exited("c", 143, 0, 5)],
            vec![],
            Some(InstanceState::Stopped),
        ),
        (
            "stopped without a container",
            wanted(RunState::Stopped),
            vec![],
            vec![],
            Some(InstanceState::Stopped),
        ),
        (
            "stopped, then changed",
            wanted(RunState::Stopped),
            vec![old(exited("o", 0, 0, 5))],
            vec!["remove o"],
            Some(InstanceState::Stopped),
        ),
        (
            "remove",
            Wanted::Nothing,
            vec![ready("c"), exited("x", 0, 0, 1)],
            vec!["stop c", "remove c", "remove x"],
            Some(InstanceState::Stopping),
        ),
        ("removed", Wanted::Nothing, vec![], vec![], None),
    ] {
        let before = observed(containers);
        let (first, next) = after(&wanted, &before, at(10));
        let told = written(&first, &before).report;
        assert_eq!(told.as_ref().map(|report| report.state), state, "{name}");
        let plan = if expected.iter().any(|word| word.starts_with("stop")) {
            assert_eq!(words(&first), [""; 0], "{name}: said first");
            decide(&wanted, &next, at(10))
        } else {
            first
        };
        assert_eq!(words(&plan), expected, "{name}");
    }
    let plan = decide(&wanted(RunState::Stopped), &observed(vec![]), at(0));
    assert_eq!(report(&plan).port, Some(31_000), "a stopped instance keeps its port");
}

#[test]
fn an_unknown_engine_changes_nothing() {
    let running = wanted(RunState::Running);
    let (_, serving) = after(&running, &observed(vec![ready("c")]), at(10));
    assert!(serving.last.endpoint.is_some());
    for wanted in [running, wanted(RunState::Stopped), Wanted::Nothing] {
        for last in [serving.last.clone(), Verdict::default()] {
            let unknown = Observed::unknown(last.clone(), "no answer".to_owned());
            let plan = decide(&wanted, &unknown, at(20));
            assert_eq!(words(&plan), [""; 0]);
            let verdict = written(&plan, &unknown);
            assert_eq!(verdict.endpoint, last.endpoint, "what serves may go on serving");
            if let Some(report) = &verdict.report {
                assert_eq!(report.reason.as_deref(), Some("EngineUnavailable"));
                assert_ne!(report.state, InstanceState::Stopped);
            }
        }
    }
}

#[test]
fn the_old_container_serves_until_the_new_image_is_there() {
    let running = wanted(RunState::Running);
    let mut seen = observed(vec![old(ready("o"))]);
    seen.image = Observation::Absent;

    let (plan, mut seen) = after(&running, &seen, at(0));
    assert_eq!(words(&plan), ["pull"]);

    seen.pull = Some(Pull::Running {
        progress: "Downloading".to_owned(),
    });
    let (plan, mut seen) = after(&running, &seen, at(1));
    assert_eq!(words(&plan), [""; 0]);
    assert_eq!(report(&plan).state, InstanceState::Pulling);
    assert_eq!(report(&plan).version.as_deref(), Some("0"), "what answers is the old one");
    assert_eq!(report(&plan).message.as_deref(), Some("pulling acme/echo:1: Downloading"));
    assert!(seen.last.endpoint.is_some());

    // The first failure is followed by another try at once, and that one's by a pause.
    for (second, pulls) in [(2, true), (3, false)] {
        seen.pull = Some(Pull::Failed {
            message: "no such image".to_owned(),
            at: at(second),
        });
        let (plan, next) = after(&running, &seen, at(second));
        assert_eq!(words(&plan) == ["pull"], pulls, "{second}");
        assert!(next.last.endpoint.is_some());
        seen = next;
    }
    let told = seen.last.report.clone().unwrap();
    assert_eq!((told.state, told.version.as_deref()), (InstanceState::Failed, Some("0")));
    assert_eq!(told.reason.as_deref(), Some("ImagePullFailed"));
    let expected = "cannot pull acme/echo:1: no such image; next attempt at 1970-01-12T13:46:44Z";
    assert_eq!(told.message.as_deref(), Some(expected));
    assert_eq!(words(&decide(&running, &seen, at(4))), ["pull"], "when the pause is over");

    seen.pull = None;
    seen.image = Observation::Present(image());
    let (plan, seen) = after(&running, &seen, at(5));
    assert_eq!((words(&plan), seen.last.endpoint), (vec![], None), "the switch is said first");
    assert_eq!(
        words(&decide(&running, &seen, at(5))),
        ["stop o", "remove o", "create", "start"]
    );
}

#[test]
fn the_network_is_made_when_it_is_not_there() {
    let mut seen = observed(vec![]);
    seen.network = Observation::Absent;
    let plan = decide(&wanted(RunState::Running), &seen, at(0));
    assert_eq!(words(&plan), ["network", "create", "start"]);
}

#[test]
fn a_crash_is_told_and_restarted_with_growing_pauses() {
    let running = wanted(RunState::Running);
    let (_, mut seen) = after(&running, &observed(vec![ready("c")]), at(1));

    // Four crashes, each 2 s after its start.
    let mut now = 10;
    for (restart, pause) in [(1, 0), (2, 1), (3, 2), (4, 4)] {
        seen.containers = Observation::Present(vec![exited("c", 3, now, 2)]);
        if pause > 0 {
            let (plan, next) = after(&running, &seen, at(now));
            assert_eq!(words(&plan), [""; 0]);
            assert_eq!(plan.requeue, Some(SignedDuration::from_secs(pause)));
            let told = report(&plan);
            assert_eq!((told.state, told.exit_code), (InstanceState::Failed, Some(3)));
            assert_eq!(told.reason.as_deref(), Some("Crashed"));
            let message = told.message.as_deref().unwrap();
            assert!(
                message.starts_with("it exited with code 3 after 2 s; its last output: it broke; next attempt at "),
                "{message}"
            );
            assert!(next.last.endpoint.is_none());
            seen = next;
        }
        let (plan, next) = after(&running, &seen, at(now + pause));
        assert_eq!(words(&plan), ["start c"]);
        assert_eq!(
            (report(&plan).restarts, report(&plan).state),
            (restart, InstanceState::Starting)
        );
        seen = next;
        now += pause + 2;
    }

    // A stable run forgives: the next crash is restarted at once.
    seen.containers = Observation::Present(vec![exited("c", 3, now + 600, 600)]);
    let (plan, _) = after(&running, &seen, at(now + 600));
    assert_eq!(words(&plan), ["start c"]);
}

#[test]
fn being_ready_for_long_forgives_too() {
    let running = wanted(RunState::Running);
    let mut seen = observed(vec![ready("c")]);
    seen.last.ledger = Ledger::default();
    seen.last.ledger = seen.last.ledger.for_spec(&ready("c").spec_hash);
    seen.last.ledger.fail(crash(&Exit {
        code: 1,
        out_of_memory: false,
        at: at(-1),
        ran_for: SignedDuration::ZERO,
        last_output: String::new(),
    }));
    let (plan, _) = after(&running, &seen, at(59));
    assert_eq!(report(&plan).reason, None, "a tool that answers is not told as failed");
    assert_eq!(plan.status.unwrap().ledger.streak, 1);
    let (plan, _) = after(&running, &seen, at(60));
    assert_eq!(plan.status.unwrap().ledger.streak, 0);
}

#[test]
fn want_of_memory_is_told_apart() {
    let running = wanted(RunState::Running);
    let (_, mut seen) = after(&running, &observed(vec![ready("c")]), at(1));
    let mut killed = exited("c", 137, 5, 4);
    if let Lifecycle::Exited(exit) = &mut killed.lifecycle {
        exit.out_of_memory = true;
    }
    seen.containers = Observation::Present(vec![killed]);
    let plan = decide(&running, &seen, at(5));
    assert_eq!(report(&plan).reason.as_deref(), Some("OutOfMemory"));
    assert_eq!(report(&plan).exit_code, Some(137));
}

#[test]
fn after_a_reboot_nothing_has_crashed() {
    let plan = decide(&wanted(RunState::Running), &observed(vec![exited("c", 255, 0, 900)]), at(5));
    assert_eq!(words(&plan), ["start c"]);
    assert_eq!((report(&plan).restarts, &report(&plan).reason), (0, &None));
}

#[test]
fn stopping_on_purpose_is_no_crash() {
    let (running, stopped) = (wanted(RunState::Running), wanted(RunState::Stopped));
    let (_, seen) = after(&running, &observed(vec![ready("c")]), at(1));
    let (_, mut seen) = after(&stopped, &seen, at(2));
    seen.containers = Observation::Present(vec![exited("c", 143, 3, 3)]);
    let (_, seen) = after(&stopped, &seen, at(3));
    let plan = decide(&running, &seen, at(4));
    assert_eq!(words(&plan), ["start c"]);
    assert_eq!((report(&plan).restarts, &report(&plan).reason), (0, &None));
}

#[test]
fn a_container_that_someone_removed_comes_back_and_counts() {
    let running = wanted(RunState::Running);
    let (_, mut seen) = after(&running, &observed(vec![ready("c")]), at(1));
    seen.containers = Observation::Absent;
    let plan = decide(&running, &seen, at(2));
    assert_eq!(words(&plan), ["create", "start"]);
    assert_eq!(report(&plan).restarts, 1);
}

#[test]
fn running_is_what_answers() {
    let not_yet = Readiness::NotYet {
        message: "connection refused".to_owned(),
    };
    let lost = |failures| Readiness::Lost {
        failures,
        message: "no answer".to_owned(),
    };
    for (name, readiness, second, state, reason) in [
        ("ready", Readiness::Ready, 1, InstanceState::Running, None),
        ("not yet", not_yet.clone(), 59, InstanceState::Starting, None),
        ("never", not_yet, 61, InstanceState::Failed, Some("NotReady")),
        ("one miss", lost(1), 90, InstanceState::Running, None),
        ("lost", lost(3), 90, InstanceState::Failed, Some("NotReady")),
    ] {
        let seen = observed(vec![Container { readiness, ..ready("c") }]);
        let plan = decide(&wanted(RunState::Running), &seen, at(second));
        assert_eq!(
            (report(&plan).state, report(&plan).reason.as_deref()),
            (state, reason),
            "{name}"
        );
        let endpoint = plan.status.as_ref().unwrap().endpoint;
        assert_eq!(endpoint.is_some(), state == InstanceState::Running, "{name}");
        assert!(plan.requeue.is_some(), "{name}: it is probed again");
    }
}

#[test]
fn what_the_engine_cannot_start_is_made_anew() {
    let running = wanted(RunState::Running);
    let (plan, mut seen) = after(&running, &observed(vec![container("c", Lifecycle::Created)]), at(0));
    assert_eq!(words(&plan), ["start c"]);
    let error = Error::retriable("StartFailed", "no such network");
    seen.last = after_failure(seen.last, &running, &error, at(0));
    let told = seen.last.report.clone().unwrap();
    assert_eq!(
        (told.state, told.reason.as_deref()),
        (InstanceState::Failed, Some("StartFailed"))
    );
    let (plan, mut seen) = after(&running, &seen, at(0));
    assert_eq!(words(&plan), ["remove c"]);
    seen.containers = Observation::Absent;
    assert_eq!(words(&decide(&running, &seen, at(0))), ["create", "start"]);
}

#[test]
fn an_image_without_a_command_needs_arguments() {
    let mut seen = observed(vec![]);
    seen.image = Observation::Present(Image {
        entrypoint: Vec::new(),
        ..image()
    });
    let running = wanted(RunState::Running);
    let (plan, seen) = after(&running, &seen, at(0));
    assert_eq!((words(&plan), report(&plan).reason.as_deref()), (vec![], Some("NoCommand")));
    assert!(decide(&running, &seen, at(1)).is_noop());
    let Wanted::Instance(mut instance) = running else {
        unreachable!()
    };
    instance.container.arguments = Some(vec!["/echo".to_owned()]);
    assert_eq!(words(&decide(&Wanted::Instance(instance), &seen, at(1))), ["create", "start"]);
}
