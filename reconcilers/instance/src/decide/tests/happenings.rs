//! Whatever happens, and in whatever order.

use crate::{decide::fixtures::World, status::condition};
use model::{EnvironmentDesiredState, InstanceDesiredState, InstancePhase};
use proptest::prelude::*;
use serde_json::json;

#[derive(Clone, Debug)]
enum Happening {
    Pass,
    Agent,
    Heartbeat,
    Firewall,
    Reachable(bool),
    Restart,
    Add,
    State(usize, InstanceDesiredState),
    Version(usize, &'static str),
    Config(usize, serde_json::Value),
    Host(EnvironmentDesiredState),
    NewDroplet,
}

fn happening() -> impl Strategy<Value = Happening> {
    let state = prop_oneof![
        Just(InstanceDesiredState::Running),
        Just(InstanceDesiredState::Stopped),
        Just(InstanceDesiredState::Removed)
    ];
    prop_oneof![
        4 => Just(Happening::Pass),
        4 => Just(Happening::Agent),
        4 => Just(Happening::Heartbeat),
        4 => Just(Happening::Firewall),
        1 => any::<bool>().prop_map(Happening::Reachable),
        1 => Just(Happening::Restart),
        1 => Just(Happening::Add),
        2 => (0..8_usize, state).prop_map(|(nth, state)| Happening::State(nth, state)),
        1 => (0..8_usize, prop_oneof![Just("1"), Just("2"), Just("9")]).prop_map(|(nth, version)| Happening::Version(nth, version)),
        1 => (0..8_usize, prop_oneof![Just(json!({})), Just(json!({"memory_mb": 64})), Just(json!({"nonsense": 1}))])
            .prop_map(|(nth, config)| Happening::Config(nth, config)),
        1 => Just(Happening::Host(EnvironmentDesiredState::Active)),
        1 => Just(Happening::Host(EnvironmentDesiredState::Deleted)),
        1 => Just(Happening::NewDroplet),
    ]
}

fn happen(world: &mut World, happening: Happening) {
    let count = world.record.tools.as_ref().unwrap().instances.len();
    let mut edit = |nth: usize, edit: &mut dyn FnMut(&mut model::InstanceSpec)| {
        if count > 0 {
            world.edit(nth % count, edit);
        }
    };
    match happening {
        Happening::Pass => world.pass(),
        Happening::Agent => world.agent(),
        Happening::Heartbeat => world.heartbeat(),
        Happening::Firewall => world.firewall(),
        Happening::Reachable(reachable) => world.reachable = reachable,
        Happening::Restart => world.pushed = crate::observe::Observed::default(),
        Happening::Add => {
            world.add();
        }
        Happening::State(nth, state) => edit(nth, &mut |spec| spec.desired_state = state),
        Happening::Version(nth, version) => edit(nth, &mut |spec| version.clone_into(&mut spec.version_to_run)),
        Happening::Config(nth, config) => edit(nth, &mut |spec| spec.config_values_override = config.clone()),
        Happening::Host(desired) => world.environment().spec.desired_state = desired,
        Happening::NewDroplet => {
            world.lose_droplet();
            world.gain_droplet();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens, in the end every row says what its container does, that is what the row wants, and nothing is left to do.
    #[test]
    fn every_row_comes_true(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut world = World::new(2);
        for happening in happenings {
            happen(&mut world, happening);
            if let Some(set) = world.set() {
                let mut ports: Vec<u16> = set.instances.iter().map(|entry| entry.port).collect();
                ports.sort_unstable();
                ports.dedup();
                prop_assert_eq!(ports.len(), set.instances.len(), "two instances share a port");
            }
        }
        world.settle();
        let hosted = world.environment().spec.desired_state == EnvironmentDesiredState::Active;
        for row in &world.record.tools.as_ref().unwrap().instances {
            let expected = match row.spec.desired_state {
                InstanceDesiredState::Removed => InstancePhase::Removed,
                InstanceDesiredState::Running if hosted => InstancePhase::Running,
                InstanceDesiredState::Running | InstanceDesiredState::Stopped => InstancePhase::Stopped,
            };
            let refused = !row.status.conditions.holds(condition::CONFIGURED);
            prop_assert!(row.status.phase == expected || (refused && row.status.phase == InstancePhase::ErrorRuntime), "{row:#?}");
            prop_assert_eq!(row.status.observed_generation, row.generation);
        }
    }
}
