//! What a container is created with: the typed allow-list, hardened.
//!
//! Owns: every field of the engine's create request. Must not: pass anything through that is no field of the specification.
//! Promises: no capability, no new privilege, a read-only root, limits of memory, CPU and processes, no host namespace, device or
//! mount beside the shim, one port on loopback at most.

use crate::{Config, image::Image, labels, spec_hash};
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use model::{ContainerSpec, DesiredInstance};
use std::collections::HashMap;

/// Where the shim is mounted in every container.
pub const SHIM: &str = "/.toolplane/exec";

/// Writable space in memory, at `/tmp`; counts as the container's memory.
const TMPFS: &str = "rw,nosuid,nodev,mode=1777,size=64m";

/// The engine's create request for one instance. `command` is what the shim executes.
pub(crate) fn request(config: &Config, instance: &DesiredInstance, image: &Image, command: &[String]) -> ContainerCreateBody {
    let spec = &instance.container;
    ContainerCreateBody {
        image: Some(image.id.clone()),
        entrypoint: Some([SHIM, "exec", "--"].map(str::to_owned).to_vec()),
        cmd: Some(command.to_vec()),
        env: Some(
            spec.environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        labels: Some(container_labels(config, instance, image)),
        exposed_ports: spec.container_port.map(|port| vec![tcp(port)]),
        stop_timeout: Some(spec.stop_grace_seconds.into()),
        // The agent probes; an image's own check would run beside it, unseen.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(host(config, spec)),
        ..ContainerCreateBody::default()
    }
}

fn host(config: &Config, spec: &ContainerSpec) -> HostConfig {
    let memory = i64::from(spec.memory_mb) * 1024 * 1024;
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        privileged: Some(false),
        readonly_rootfs: Some(true),
        init: Some(true),
        memory: Some(memory),
        // The same as the memory: no swap on top.
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(spec.cpu_millis) * 1_000_000),
        pids_limit: Some(spec.pids.into()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        ipc_mode: Some("private".to_owned()),
        mounts: Some(vec![shim(config)]),
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), TMPFS.to_owned())])),
        network_mode: Some(labels::network_name(config.droplet_id)),
        port_bindings: spec.container_port.map(|port| {
            // An empty port is an ephemeral one.
            let binding = PortBinding {
                host_ip: Some("127.0.0.1".to_owned()),
                host_port: Some(String::new()),
            };
            HashMap::from([(tcp(port), Some(vec![binding]))])
        }),
        publish_all_ports: Some(false),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), "10m".to_owned()),
                ("max-file".to_owned(), "3".to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

/// A mount and not a bind: the engine refuses a source that is not there instead of making a folder of that name.
fn shim(config: &Config) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(config.shim_path.to_string_lossy().into_owned()),
        target: Some(SHIM.to_owned()),
        read_only: Some(true),
        ..Mount::default()
    }
}

fn container_labels(config: &Config, instance: &DesiredInstance, image: &Image) -> HashMap<String, String> {
    [
        (labels::DROPLET, config.droplet_id.to_string()),
        (labels::ENVIRONMENT, config.environment_id.to_string()),
        (labels::INSTANCE, instance.instance_id.to_string()),
        (labels::GENERATION, instance.generation.to_string()),
        (labels::SPEC_HASH, spec_hash::of(&instance.container)),
        (labels::VERSION, instance.version.clone()),
        (labels::IMAGE, instance.container.image.clone()),
        (labels::IMAGE_DIGEST, image.digest.clone()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn tcp(port: u16) -> String {
    format!("{port}/tcp")
}
