//! Anything may happen, in any order: what holds all the time, and what it comes to when it stops.

use crate::{
    decide::world::{Fault, Resizes, World, doubt, secs},
    status::condition,
};
use fleet::{DropletState, Sighting, Trust};
use model::{
    EnvironmentDesiredState::{Active, Deleted},
    EnvironmentPhase,
};
use proptest::prelude::*;
use std::collections::HashSet;

const SMALL: &str = "s-1vcpu-1gb";
const LARGE: &str = "s-2vcpu-4gb";

#[derive(Clone, Copy, Debug)]
enum Happening {
    Pass(Fault),
    Wait(i64),
    Sweep,
    Restart,
    Want(model::EnvironmentDesiredState),
    DeleteRow,
    Vandalise,
    PowerOff,
    Unreadable(bool),
    AgentsWork(bool),
    Hide(i64),
    Short(i64),
    Resize(bool),
    Resized,
    Untag,
    Rename,
    MoveProject,
    Doubt(bool),
    ShutdownsWork(bool),
    Resizes(Resizes),
}

fn happening() -> impl Strategy<Value = Happening> {
    let fault = prop_oneof![
        3 => Just(Fault::None),
        1 => (0..3_usize).prop_map(Fault::Before),
        1 => (0..3_usize).prop_map(Fault::After),
        1 => (0..3_usize).prop_map(Fault::Refused),
        1 => (0..3_usize).prop_map(Fault::CrashBefore),
        1 => (0..3_usize).prop_map(Fault::CrashAfter),
        1 => (0..3_usize, 0..90_i64).prop_map(|(nth, seconds)| Fault::Short(nth, seconds)),
    ];
    prop_oneof![
        12 => fault.prop_map(Happening::Pass),
        8 => (1..60_i64).prop_map(Happening::Wait),
        3 => Just(Happening::Sweep),
        1 => Just(Happening::Restart),
        1 => Just(Happening::Want(Active)),
        1 => Just(Happening::Want(Deleted)),
        1 => Just(Happening::Vandalise),
        1 => Just(Happening::PowerOff),
        1 => any::<bool>().prop_map(Happening::Unreadable),
        1 => any::<bool>().prop_map(Happening::AgentsWork),
        1 => (0..90_i64).prop_map(Happening::Hide),
        1 => (0..90_i64).prop_map(Happening::Short),
        1 => any::<bool>().prop_map(Happening::Resize),
        1 => Just(Happening::Resized),
        1 => Just(Happening::Untag),
        1 => Just(Happening::Rename),
        1 => Just(Happening::MoveProject),
        1 => any::<bool>().prop_map(Happening::Doubt),
        1 => any::<bool>().prop_map(Happening::ShutdownsWork),
        1 => prop_oneof![Just(Resizes::Work), Just(Resizes::Refused), Just(Resizes::Fail)].prop_map(Happening::Resizes),
    ]
}

fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Pass(fault) => {
            world.pass(fault);
        }
        Happening::Wait(seconds) => world.wait(seconds),
        Happening::Sweep => {
            if let Some(sighting) = world.read() {
                world.cached = sighting;
            }
        }
        Happening::Restart => {
            world.outbox = crate::outbox::Outbox::default();
            world.cached = Sighting::UNKNOWN;
        }
        Happening::Want(desired) => world.want(desired),
        Happening::DeleteRow => world.delete_row(),
        Happening::Vandalise => world.vandalise(),
        Happening::PowerOff => {
            for real in &mut world.cloud {
                real.droplet.state = DropletState::Off;
            }
        }
        Happening::Unreadable(unreadable) => world.cloud_unreadable = unreadable,
        Happening::AgentsWork(work) => world.agents_work = work,
        Happening::Hide(seconds) => world.lag = secs(seconds),
        Happening::Short(seconds) => world.short_until = Some(world.now + secs(seconds)),
        Happening::Resize(larger) => world.resize(if larger { LARGE } else { SMALL }),
        Happening::Resized => {
            for real in &mut world.cloud {
                real.droplet.size = LARGE.into();
            }
        }
        Happening::Untag => world.untag(),
        Happening::Rename => {
            for real in &mut world.cloud {
                real.droplet.named = false;
            }
        }
        Happening::MoveProject => world.project.as_mut().unwrap().clear(),
        Happening::Doubt(doubted) => world.trust = if doubted { doubt(world.now) } else { Trust::Trusted },
        Happening::ShutdownsWork(work) => world.shutdowns_work = work,
        Happening::Resizes(resizes) => world.resizes = resizes,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens, as long as DigitalOcean hides nothing for longer than the lag window: never two droplets, and in the end
    /// exactly what is wanted, with nothing left to do.
    #[test]
    fn exactly_one_droplet(happenings in prop::collection::vec(happening(), 0..80), delete in any::<bool>(), wanted in any::<bool>()) {
        let mut world = World::new();
        world.project = Some(HashSet::new());
        for happening in happenings {
            let created = world.created;
            happen(&mut world, happening);
            // Also those that lost their tags.
            let there = world.cloud.iter().filter(|real| real.gone_at.is_none()).count();
            prop_assert!(there <= 1, "two droplets after {happening:?}: {:?}", world.cloud);
            let replaced = created > 0 && world.created > created;
            prop_assert!(world.trust.is_trusted() || !replaced, "created while what is missing is not believed");
        }
        if delete {
            happen(&mut world, Happening::DeleteRow);
        } else {
            world.want(if wanted { Active } else { Deleted });
        }
        world.agents_work = true;
        world.trust = Trust::Trusted;
        (world.shutdowns_work, world.resizes) = (true, Resizes::Work);
        world.wait(1);
        world.settle();
        // A droplet whose delete was accepted before a restart may have been taken for one that stays.
        world.wait(100);
        world.cached = world.read().unwrap();
        world.settle();
        match &world.record {
            None => {
                prop_assert!(delete);
                prop_assert_eq!(world.live(), []);
            }
            Some(record) => {
                prop_assert!(world.plan().is_noop());
                prop_assert!(record.intent.as_ref().is_none_or(|intent| intent.outcome.is_some()), "an intent stays open");
                let status = &world.row().status;
                if wanted {
                    prop_assert_eq!(status.phase, EnvironmentPhase::Active);
                    prop_assert_eq!(world.live(), [status.droplet_id.unwrap()]);
                    let droplet = &world.cloud[0].droplet;
                    prop_assert!(droplet.named && droplet.missing.is_empty() && droplet.state == DropletState::Active);
                    prop_assert_eq!(droplet.size.as_str(), &*world.row().spec.size);
                    prop_assert!(world.project.as_ref().unwrap().contains(&droplet.id));
                    prop_assert_eq!(status.conditions.get(condition::TOOLS_STOPPED), None);
                } else {
                    prop_assert_eq!(status.phase, EnvironmentPhase::Deleted);
                    prop_assert_eq!(world.live(), []);
                }
            }
        }
    }
}
