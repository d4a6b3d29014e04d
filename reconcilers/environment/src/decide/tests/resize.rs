//! Resizes in place.

use super::launched;
use crate::{
    decide::world::{Fault, Resizes, World},
    status::condition,
};
use fleet::DropletState;
use model::{ConditionStatus, EnvironmentPhase, Stamp, desired::RunState};

const LARGE: &str = "s-2vcpu-4gb";

/// What each pass does, until it has done all of these.
fn steps(world: &mut World, most: usize) -> Vec<&'static str> {
    let mut done = Vec::new();
    for _ in 0..most {
        world.cached = world.read().unwrap();
        done.extend(world.names());
        world.pass(Fault::None);
        world.wait(12);
    }
    done
}

fn resized(world: &World) -> Option<(ConditionStatus, String)> {
    let said = world.row().status.conditions.get(condition::RESIZED)?;
    Some((said.status, said.reason.to_string()))
}

#[test]
fn another_size_stops_resizes_and_starts_the_droplet() {
    let mut world = launched();
    world.resize(LARGE);
    assert_eq!(steps(&mut world, 8), ["sizes", "shutdown", "resize", "power on"]);
    world.settle();
    let status = &world.row().status;
    assert_eq!(status.phase, EnvironmentPhase::Active);
    assert_eq!(
        (
            status.conditions.get(condition::RESIZED),
            status.conditions.get(condition::TOOLS_STOPPED)
        ),
        (None, None)
    );
    assert!(status.conditions.holds(condition::READY));
    assert_eq!(world.cloud[0].droplet.size.as_str(), LARGE);
    assert_eq!(world.created, 1);
}

#[test]
fn tools_stop_before_the_droplet_does_and_come_back_after() {
    let mut world = launched();
    let stamp = |generation| Stamp { epoch: 1, generation };
    world.stamp(stamp(1), RunState::Running);
    world.resize(LARGE);
    world.pass(Fault::None);
    assert_eq!(world.names(), Vec::<&str>::new(), "the tools run");
    world.pass(Fault::None);
    let stopped = world.row().status.conditions.get(condition::TOOLS_STOPPED).unwrap();
    assert_eq!(stopped.status, ConditionStatus::False);
    world.stamp(stamp(2), RunState::Stopped);
    assert_eq!(
        world.names(),
        Vec::<&str>::new(),
        "the agent has not said that they are stopped"
    );
    world.wait(1);
    assert_eq!(world.names(), ["shutdown"]);
    assert_eq!(steps(&mut world, 7), ["shutdown", "resize", "power on"]);
    assert_eq!(world.row().status.conditions.get(condition::TOOLS_STOPPED), None);
}

#[test]
fn ports_and_tools_that_do_not_stop_are_waited_for_until_the_deadline() {
    let mut world = launched();
    world.firewall(&[31_000]);
    world.resize(LARGE);
    world.pass(Fault::None);
    world.pass(Fault::None);
    for _ in 0..5 {
        world.wait(10);
        assert_eq!(world.names(), Vec::<&str>::new());
    }
    world.wait(10);
    assert_eq!(world.names(), ["shutdown"]);
}

#[test]
fn a_droplet_that_does_not_shut_down_is_powered_off() {
    let mut world = launched();
    world.shutdowns_work = false;
    world.resize(LARGE);
    let done = steps(&mut world, 14);
    assert_eq!(done, ["sizes", "shutdown", "power off", "resize", "power on"]);
    assert_eq!(world.cloud[0].droplet.size.as_str(), LARGE);
}

#[test]
fn every_step_can_be_the_last_of_its_process() {
    for crash in [Fault::CrashBefore(0), Fault::CrashAfter(0), Fault::After(0), Fault::Before(0)] {
        for crashing in 0..8 {
            let mut world = launched();
            world.resize(LARGE);
            for nth in 0..10 {
                world.pass(if nth == crashing { crash } else { Fault::None });
                world.wait(12);
            }
            world.settle();
            world.wait(1);
            world.settle();
            assert_eq!(world.cloud[0].droplet.size.as_str(), LARGE, "{crash:?} in pass {crashing}");
            assert_eq!(world.cloud[0].droplet.state, DropletState::Active);
            assert_eq!((world.phase(), world.created), (EnvironmentPhase::Active, 1));
            assert!(world.plan().is_noop(), "{:?}", world.plan());
        }
    }
}

#[test]
fn a_size_that_cannot_be_reached_stops_nothing_and_names_its_column() {
    let mut world = launched();
    world.resize("s-1vcpu-512mb-10gb");
    assert_eq!(steps(&mut world, 3), ["sizes"]);
    let row = world.row();
    assert_eq!(resized(&world), Some((ConditionStatus::False, "SizeUnreachable".to_owned())));
    let message = row.status.error_message.as_ref().unwrap();
    assert!(
        message.starts_with("size_slug: ") && message.contains("s-2vcpu-4gb would fit"),
        "{message}"
    );
    assert_eq!(row.status.phase, EnvironmentPhase::Active);
    assert!(row.status.conditions.holds(condition::READY));
    assert!(world.plan().is_noop());
    world.resize("s-1vcpu-1gb");
    world.settle();
    assert_eq!((resized(&world), &world.row().status.error_message), (None, &None));
}

#[test]
fn a_resize_that_is_refused_or_fails_gives_the_droplet_back() {
    for (resizes, reason) in [(Resizes::Refused, "ResizeRefused"), (Resizes::Fail, "ResizeFailed")] {
        let mut world = launched();
        world.resizes = resizes;
        world.resize(LARGE);
        assert_eq!(steps(&mut world, 10), ["sizes", "shutdown", "resize", "power on"], "{reason}");
        assert_eq!(resized(&world), Some((ConditionStatus::False, reason.to_owned())));
        let status = &world.row().status;
        assert!(status.conditions.holds(condition::READY), "{status:?}");
        assert!(status.error_message.as_ref().unwrap().starts_with("size_slug: "));
        assert!(world.plan().is_noop(), "it is not tried again at once");
        // Time tries again, and so would another size.
        world.resizes = Resizes::Work;
        world.wait(6 * 3600);
        world.settle();
        assert_eq!((resized(&world), world.cloud[0].droplet.size.as_str()), (None, LARGE));
    }
}

#[test]
fn what_somebody_else_resized_is_resized_back_unless_its_disk_grew() {
    let mut world = launched();
    world.cloud[0].droplet.size = LARGE.into();
    world.cached = world.read().unwrap();
    world.settle();
    assert_eq!(world.cloud[0].droplet.size.as_str(), "s-1vcpu-1gb");

    let mut world = launched();
    (world.cloud[0].droplet.size, world.cloud[0].droplet.disk) = (LARGE.into(), 80);
    assert_eq!(steps(&mut world, 3), ["sizes"]);
    assert_eq!(resized(&world), Some((ConditionStatus::False, "SizeUnreachable".to_owned())));
}

#[test]
fn a_first_boot_is_not_interrupted() {
    let mut world = World::new();
    world.agents_work = false;
    world.pass(Fault::None);
    world.wait(30);
    world.resize(LARGE);
    world.pass(Fault::None);
    assert!(!world.names().contains(&"shutdown"), "{:?}", world.names());
    world.agents_work = true;
    world.settle();
    world.wait(1);
    world.settle();
    assert_eq!(world.cloud[0].droplet.size.as_str(), LARGE);
}
