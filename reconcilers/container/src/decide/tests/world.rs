//! A model of the engine that obeys: plans applied to it come to an end.

use super::*;
use proptest::{
    prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    test_runner::TestCaseError,
};

type Checked<T> = Result<T, TestCaseError>;

#[derive(Clone, Debug)]
struct World {
    seen: Observed,
    containers: Vec<Container>,
    now: Timestamp,
    created: u32,
    /// How many pulls fail before one succeeds.
    bad_pulls: u32,
    /// How many runs end at once before one stays.
    bad_runs: u32,
}

impl World {
    /// Lets one pass happen; whether it had anything to do.
    fn pass(&mut self, wanted: &Wanted) -> Checked<bool> {
        self.seen.containers = match self.containers.clone() {
            none if none.is_empty() => Observation::Absent,
            some => Observation::Present(some),
        };
        let plan = decide(wanted, &self.seen, self.now);
        for action in &plan.actions {
            self.apply(action)?;
        }
        if let Some(status) = plan.status.clone() {
            self.seen.last = status;
        }
        self.pass_time(plan.requeue);
        Ok(!plan.is_noop())
    }

    /// The engine's part, as strict as the engine is.
    fn apply(&mut self, action: &Action) -> Checked<()> {
        match action {
            Action::PullImage { .. } => {
                let progress = "Downloading".to_owned();
                self.seen.pull = Some(Pull::Running { progress });
            }
            Action::CreateNetwork => self.seen.network = Observation::Present(()),
            Action::CreateContainer { .. } => {
                prop_assert!(self.containers.is_empty(), "the name is taken: {:?}", self.containers);
                prop_assert!(self.seen.network == Observation::Present(()), "no network");
                self.created += 1;
                let name = format!("created-{}", self.created);
                self.containers.push(container(&name, Lifecycle::Created));
            }
            Action::StartContainer(target) => {
                let index = match target {
                    Target::Observed(id) => self.index(id)?,
                    Target::Created => self.containers.len() - 1,
                };
                prop_assert!(!self.containers[index].is_up());
                self.containers[index].lifecycle = Lifecycle::Running { since: self.now };
                self.containers[index].readiness = Readiness::NotYet {
                    message: "connection refused".to_owned(),
                };
                let up = self.containers.iter().filter(|container| container.is_up()).count();
                prop_assert!(up == 1, "{up} run at once");
            }
            Action::StopContainer { id, .. } => {
                let index = self.index(id)?;
                let served = self.seen.last.endpoint.map(|endpoint| endpoint.address);
                prop_assert!(
                    served.is_none() || served != self.containers[index].address,
                    "stopped while it served"
                );
                self.containers[index] = ended(&self.containers[index], 143, self.now);
            }
            Action::UnpauseContainer { id } => {
                let index = self.index(id)?;
                self.containers[index].lifecycle = Lifecycle::Running { since: at(0) };
            }
            Action::RemoveContainer { id } => {
                let index = self.index(id)?;
                prop_assert!(!self.containers[index].is_up(), "the engine removes nothing that runs");
                self.containers.remove(index);
            }
        }
        Ok(())
    }

    /// Only what was observed may be named: everything else is foreign.
    fn index(&self, id: &ContainerId) -> Checked<usize> {
        let index = self.containers.iter().position(|container| container.id == *id);
        index.ok_or_else(|| TestCaseError::fail(format!("{id} is not ours")))
    }

    /// Time passes, and with it what happens by itself.
    fn pass_time(&mut self, requeue: Option<SignedDuration>) {
        self.now += requeue.unwrap_or(SignedDuration::from_secs(30));
        self.containers.retain(|container| container.lifecycle != Lifecycle::Removing);
        if let Some(Pull::Running { .. }) = self.seen.pull {
            self.seen.pull = (self.bad_pulls > 0).then(|| Pull::Failed {
                message: "no such image".to_owned(),
                at: self.now,
            });
            if self.bad_pulls == 0 {
                self.seen.image = Observation::Present(image());
            }
            self.bad_pulls = self.bad_pulls.saturating_sub(1);
        }
        for container in &mut self.containers {
            match container.lifecycle {
                Lifecycle::Running { .. } if self.bad_runs > 0 => {
                    self.bad_runs -= 1;
                    *container = ended(container, 1, self.now);
                }
                Lifecycle::Running { .. } => container.readiness = Readiness::Ready,
                Lifecycle::Created | Lifecycle::Paused | Lifecycle::Exited(_) | Lifecycle::Removing | Lifecycle::Broken => {}
            }
        }
    }
}

fn ended(container: &Container, code: i64, now: Timestamp) -> Container {
    let exit = Exit {
        code,
        out_of_memory: false,
        at: now,
        ran_for: SignedDuration::from_secs(1),
        last_output: String::new(),
    };
    Container {
        lifecycle: Lifecycle::Exited(exit),
        readiness: Readiness::Unprobed,
        ..container.clone()
    }
}

fn containers() -> impl Strategy<Value = Vec<Container>> {
    let lifecycle = prop_oneof![
        Just(Lifecycle::Created),
        Just(Lifecycle::Running { since: at(0) }),
        Just(Lifecycle::Paused),
        Just(Lifecycle::Removing),
        Just(Lifecycle::Broken),
        any::<u8>().prop_map(|code| ended(&ready("x"), code.into(), at(0)).lifecycle),
    ];
    let one = (lifecycle, any::<bool>(), -5i64..5);
    proptest::collection::vec(one, 0..4).prop_map(|drawn| {
        let named = drawn.into_iter().enumerate();
        named
            .map(|(index, (lifecycle, current, created))| {
                let drawn = Container {
                    created: at(created),
                    address: Some(([127, 0, 0, 2], 1 + u16::try_from(index).unwrap()).into()),
                    ..container(&format!("found-{index}"), lifecycle)
                };
                if current { drawn } else { old(drawn) }
            })
            .collect()
    })
}

fn worlds() -> impl Strategy<Value = World> {
    let ledger = (0u32..9, any::<bool>()).prop_map(|(streak, supervised)| {
        let mut ledger = Ledger::default().for_spec(&ready("x").spec_hash);
        ledger.supervised = supervised;
        for attempt in 0..streak {
            ledger.fail(Failure {
                reason: if attempt % 2 == 0 { "StartFailed" } else { "Crashed" },
                message: attempt.to_string(),
                at: at(0),
            });
        }
        ledger
    });
    let surroundings = (any::<bool>(), any::<bool>(), 0u32..4, 0u32..4);
    (containers(), ledger, surroundings).prop_map(|(containers, ledger, (pulled, networked, bad_pulls, bad_runs))| {
        let mut seen = observed(Vec::new());
        seen.last.ledger = ledger;
        if !pulled {
            seen.image = Observation::Absent;
        }
        if !networked {
            seen.network = Observation::Absent;
        }
        World {
            seen,
            containers,
            now: at(10),
            created: 0,
            bad_pulls,
            bad_runs,
        }
    })
}

fn wishes() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        Just(wanted(RunState::Running)),
        Just(wanted(RunState::Stopped)),
        Just(Wanted::Nothing)
    ]
}

proptest! {
    #[test]
    fn every_world_comes_to_rest_as_wanted(mut world in worlds(), first in wishes(), last in wishes()) {
        // The wish may change in the middle of the first one's fulfilment.
        for _ in 0..5 {
            world.pass(&first)?;
        }
        let mut passes = 0;
        while world.pass(&last)? || !rests(&world, &last) {
            passes += 1;
            prop_assert!(passes < 100, "does not come to rest: {world:?}");
        }
        // A stable run is noted once, because it forgives what failed before.
        world.now += STABLE;
        world.pass(&last)?;
        prop_assert!(!world.pass(&last)?, "the next plan is empty: {world:?}");
        prop_assert!(rests(&world, &last));
        let told = world.seen.last.report.as_ref().map(|report| report.state);
        let endpoint = world.seen.last.endpoint;
        match &last {
            Wanted::Nothing => prop_assert_eq!(&world.seen.last, &Verdict::default()),
            Wanted::Instance(instance) if instance.run == RunState::Stopped => {
                prop_assert_eq!((told, endpoint), (Some(InstanceState::Stopped), None));
            }
            Wanted::Instance(_) => {
                prop_assert_eq!(told, Some(InstanceState::Running));
                prop_assert_eq!(endpoint.map(|endpoint| endpoint.address), world.containers[0].address);
            }
        }
    }

    #[test]
    fn nothing_is_done_about_what_is_unknown(world in worlds(), wish in wishes()) {
        // Even with an image and a network at hand.
        let unknown = Observed { containers: Observation::Unknown, ..world.seen };
        prop_assert!(decide(&wish, &unknown, world.now).actions.is_empty());
    }
}

/// Whether the engine is as it was wished to be.
fn rests(world: &World, wish: &Wanted) -> bool {
    let current = |container: &Container| match wish {
        Wanted::Instance(instance) => spec_hash::matches(&container.spec_hash, &instance.container),
        Wanted::Nothing => false,
    };
    let up = world.containers.iter().filter(|container| container.is_up()).count();
    let count = world.containers.len();
    world.containers.iter().all(current)
        && match wish {
            Wanted::Nothing => count == 0,
            Wanted::Instance(instance) if instance.run == RunState::Stopped => up == 0 && count <= 1,
            Wanted::Instance(_) => up == 1 && count == 1,
        }
}
