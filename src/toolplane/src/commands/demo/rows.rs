//! What the rows say: how far the account is, and what it waits for.

use miette::{IntoDiagnostic, WrapErr};
use model::{Condition, Conditions, Environment, EnvironmentId, EnvironmentPhase, Instance, InstancePhase};
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

fn blocker(conditions: &Conditions) -> String {
    let blocker = conditions.blocker();
    blocker.map_or_else(|| "not looked at yet".to_owned(), Condition::said)
}
