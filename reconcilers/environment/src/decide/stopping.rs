//! Waiting until a droplet may be taken from its tools. Owns: when they are at rest. Promises: a port closes before its tool stops,
//! and a tool stops before its droplet does, each waited for until the stop deadline and no longer.

use super::scene::Scene;
use jiff::{SignedDuration, Timestamp};
use model::{InstanceState, desired::RunState};

impl Scene<'_> {
    /// For how long ports and tools are still waited for, which were first to stop at `since`; `None` once they are at rest, or
    /// are not waited for any more.
    pub(super) fn tools_awaited(&self, since: Timestamp) -> Option<SignedDuration> {
        let left = self.policy.stop_deadline - self.now.duration_since(since);
        // Ports are closed by DigitalOcean: a silent agent is no reason not to wait for that.
        let awaited = !self.record.open_ports().is_empty() || self.tools_run();
        (awaited && left.is_positive()).then_some(left)
    }

    /// Whether the agent can be waited for, and has not confirmed that every tool is stopped.
    fn tools_run(&self) -> bool {
        let (Some(report), Some(tools)) = (self.record.current_report(), &self.record.tools) else {
            return false;
        };
        if self.silent() {
            return false;
        }
        let told = tools.desired.as_ref().is_none_or(|set| {
            let all_stopped = set.instances.iter().all(|instance| instance.run == RunState::Stopped);
            all_stopped && report.applied.is_some_and(|applied| applied >= set.stamp)
        });
        let at_rest = report.instances.iter().all(|instance| match instance.state {
            InstanceState::Pending | InstanceState::Stopped | InstanceState::Failed => true,
            InstanceState::Pulling | InstanceState::Starting | InstanceState::Running | InstanceState::Stopping => false,
        });
        !(told && at_rest)
    }
}
