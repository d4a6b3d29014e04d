//! The versioned hash of a container's specification: how drift of the specification is told.
//!
//! Owns: which fields replace a container when they change. Must not: change what a version covers; a new rule is a new version.
//! Promises: an upgraded agent compares each container by the version that its label names, so that an upgrade of the agent
//! replaces no container.

use model::ContainerSpec;
use sha2::{Digest, Sha256};

/// The hash of the current version: `v1:` and 64 hex digits.
pub fn of(spec: &ContainerSpec) -> String {
    v1(spec)
}

/// Whether a container that is labelled `label` was made from `spec`.
pub fn matches(label: &str, spec: &ContainerSpec) -> bool {
    match label.split_once(':') {
        Some(("v1", _)) => label == v1(spec),
        Some(_) | None => false,
    }
}

/// Covers all that is fixed at creation. Neither the probe nor the grace: both apply to a container that runs already.
fn v1(spec: &ContainerSpec) -> String {
    let covered = serde_json::json!([
        spec.image,
        spec.environment,
        spec.arguments,
        spec.container_port,
        spec.memory_mb,
        spec.cpu_millis,
        spec.pids,
    ]);
    format!("v1:{}", hex::encode(Sha256::digest(covered.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::container::{ContainerDefaults, Probe};

    fn spec() -> ContainerSpec {
        ContainerDefaults::default().into_spec("acme/echo:1".to_owned())
    }

    #[test]
    fn version_one_never_changes() {
        assert_eq!(
            of(&spec()),
            "v1:8d0fbe6c3df214f6e7acb06cce24f03a994bf7d4c0a19e8cc4e28c1fa92b1bd7"
        );
    }

    #[test]
    fn only_what_is_fixed_at_creation_replaces_a_container() {
        let label = of(&spec());
        assert!(matches(&label, &spec()));
        let mut probed = spec();
        probed.probe = Probe::Http { path: "/".to_owned() };
        probed.stop_grace_seconds = 99;
        assert!(matches(&label, &probed));
        let changes: [fn(&mut ContainerSpec); 7] = [
            |spec| spec.image.push('2'),
            |spec| drop(spec.environment.insert("A".into(), "1".into())),
            |spec| spec.arguments = Some(Vec::new()),
            |spec| spec.container_port = Some(1),
            |spec| spec.memory_mb += 1,
            |spec| spec.cpu_millis += 1,
            |spec| spec.pids += 1,
        ];
        for (field, change) in changes.into_iter().enumerate() {
            let mut other = spec();
            change(&mut other);
            assert!(!matches(&label, &other), "field {field}");
        }
        assert!(!matches("v0:abc", &spec()) && !matches("", &spec()));
    }
}
