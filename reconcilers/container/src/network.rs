//! The droplet's own bridge network.
//!
//! Owns: its options. Must not: ask the engine anything. Promises: containers on it do not reach each other.

use crate::{Config, labels};
use bollard::models::{Network, NetworkCreateRequest};
use std::collections::HashMap;

/// The bridge driver's option for traffic between containers.
const INTER_CONTAINER: &str = "com.docker.network.bridge.enable_icc";

/// What is asked of the engine.
pub(crate) fn request(config: &Config) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: labels::network_name(config.droplet_id),
        driver: Some("bridge".to_owned()),
        options: Some(HashMap::from([(INTER_CONTAINER.to_owned(), "false".to_owned())])),
        labels: Some(HashMap::from([
            (labels::DROPLET.to_owned(), config.droplet_id.to_string()),
            (labels::ENVIRONMENT.to_owned(), config.environment_id.to_string()),
        ])),
        ..NetworkCreateRequest::default()
    }
}

/// Whether a network with our label is the one that was asked for. One that lets containers reach each other is not.
pub(crate) fn is_ours(network: &Network, name: &str) -> bool {
    let options = network.options.as_ref();
    let isolated = options.and_then(|options| options.get(INTER_CONTAINER)).map(String::as_str) == Some("false");
    network.name.as_deref() == Some(name) && network.driver.as_deref() == Some("bridge") && isolated
}
