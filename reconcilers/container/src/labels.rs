//! The labels and names by which an agent knows its own containers and networks.
//!
//! Owns: their spelling. Must not: be read as anything but exact text; no prefix of a name ever says whose something is.
//! Promises: what lacks this droplet's label is foreign and is never touched.

use model::{DropletId, InstanceId};

/// The droplet whose agent made it. On containers and networks.
pub const DROPLET: &str = "io.toolplane.droplet";
/// The environment that the droplet belongs to.
pub const ENVIRONMENT: &str = "io.toolplane.environment";
/// The instance that a container is of.
pub const INSTANCE: &str = "io.toolplane.instance";
/// The generation of the instance's row that a container was created for.
pub const GENERATION: &str = "io.toolplane.generation";
/// The versioned hash of the specification that a container was created from.
pub const SPEC_HASH: &str = "io.toolplane.spec-hash";
/// The tool's version that a container runs.
pub const VERSION: &str = "io.toolplane.version";
/// The image reference that was asked for.
pub const IMAGE: &str = "io.toolplane.image";
/// The `sha256:...` that the reference was resolved to.
pub const IMAGE_DIGEST: &str = "io.toolplane.image-digest";

/// The one container name of an instance. The engine keeps names unique, so that two creates can never make two containers.
pub fn container_name(droplet: DropletId, instance: InstanceId) -> String {
    format!("toolplane-{droplet}-{instance}")
}

/// The name of a droplet's bridge network.
pub fn network_name(droplet: DropletId) -> String {
    format!("toolplane-{droplet}")
}

/// The engine's filter for what carries this droplet's label.
pub(crate) fn of_droplet(droplet: DropletId) -> String {
    format!("{DROPLET}={droplet}")
}

/// The engine's filter for what carries this instance's label.
pub(crate) fn of_instance(instance: InstanceId) -> String {
    format!("{INSTANCE}={instance}")
}
