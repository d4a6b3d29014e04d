//! What the rows say: how far the account is, and what it waits for.

use crate::commands::describe;
use miette::{IntoDiagnostic, WrapErr};
use model::{Conditions, Environment, EnvironmentId, EnvironmentPhase, Instance, InstancePhase};
use schema::{Database, InstanceFilter};

/// The account's rows at one moment.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) environment: Environment,
    pub(super) instances: Vec<Instance>,
}

impl Account {
    pub(super) async fn read(database: &Database, id: EnvironmentId) -> miette::Result<Self> {
        let environments = database
            .environment_list()
            .await
            .into_diagnostic()
            .wrap_err("cannot read the rows")?;
        let environment = environments.into_iter().find(|environment| environment.id == id);
        let filter = InstanceFilter {
            environment_id: Some(id),
        };
        Ok(Self {
            environment: environment.ok_or_else(|| miette::miette!("the environment's row is gone"))?,
            instances: database
                .instance_list(filter)
                .await
                .into_diagnostic()
                .wrap_err("cannot read the rows")?,
        })
    }

    /// What stands between now and everything running, as the conditions say it; `None` when nothing does.
    pub(super) fn waits_for(&self) -> Option<String> {
        if self.environment.status.phase != EnvironmentPhase::Active {
            let phase = crate::commands::get::spelled(&self.environment.status.phase);
            return Some(format!(
                "environment {phase}: {}",
                blocker(&self.environment.status.conditions)
            ));
        }
        let waiting = self.instances.iter().find(|instance| !runs(instance))?;
        let phase = crate::commands::get::spelled(&waiting.status.phase);
        Some(format!("{} {phase}: {}", name(waiting), blocker(&waiting.status.conditions)))
    }

    /// The containers, and how often they were started again.
    pub(super) fn instance(&self, id: model::InstanceId) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id == id)
    }
}

pub(super) fn name(instance: &Instance) -> String {
    instance.spec.instance_name.clone().unwrap_or_else(|| instance.id.to_string())
}

/// Runs the version that is wanted, as far as its generation is known to the controller.
pub(super) fn runs(instance: &Instance) -> bool {
    instance.status.phase == InstancePhase::Running
        && instance.status.observed_generation == instance.generation
        && instance.status.actual_running_version.as_ref() == Some(&instance.spec.version_to_run)
}

pub(super) fn detail<'a>(instance: &'a Instance, name: &str) -> Option<&'a str> {
    instance.status.runtime_details[name].as_str()
}

/// What stands in the way, as `describe` has it.
fn blocker(conditions: &Conditions) -> String {
    match describe::blocker(conditions) {
        Some(condition) if condition.message.is_empty() => condition.reason.to_string(),
        Some(condition) => format!("{}: {}", condition.reason, condition.message),
        None => "not looked at yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use model::ConditionStatus;

    #[test]
    fn the_blocker_is_the_first_condition_that_does_not_hold() {
        let mut conditions = Conditions::default();
        assert_eq!(blocker(&conditions), "not looked at yet");
        conditions.set("Ready", ConditionStatus::False, "NotReady", "", 1, Timestamp::UNIX_EPOCH);
        assert_eq!(blocker(&conditions), "NotReady");
        conditions.set("DropletReady", ConditionStatus::True, "Active", "", 1, Timestamp::UNIX_EPOCH);
        conditions.set(
            "AgentReady",
            ConditionStatus::False,
            "Booting",
            "no heartbeat yet",
            1,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(blocker(&conditions), "Booting: no heartbeat yet");
    }
}
