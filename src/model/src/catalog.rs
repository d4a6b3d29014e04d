//! `tool_catalog`: the tools that can be instantiated, and how each is packed.

use crate::{CatalogId, container::ContainerDefaults};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `tool_packaging_type_enum` of the seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackagingType {
    /// `package_identifier` names a container image without a tag.
    #[default]
    DockerImage,
}

/// `catalog_tool_status_enum` of the seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogStatus {
    /// For everyone.
    #[default]
    Available,
    /// For everyone, and may change.
    Beta,
    /// May go.
    Experimental,
    /// Runs where it runs; not for new instances.
    Deprecated,
    /// Not for new instances, and hidden.
    Archived,
}

/// `version_info`: which versions there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionInfo {
    /// What `version_to_run` may be.
    pub available_versions: Vec<String>,
    /// What it is when nobody says.
    pub default_version: String,
    /// What differs for single versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version_details: BTreeMap<String, VersionDetails>,
}

/// An element of `version_info.version_details`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionDetails {
    /// The full image reference of this version, in place of `package_identifier:version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_identifier_override: Option<String>,
}

/// An element of `required_secrets_schema`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredSecret {
    /// The name that an instance's secret is bound to.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The environment variable that the tool reads it from.
    pub env_var_name: String,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// Primary key.
    pub id: CatalogId,
    /// Unique, for people: `Reasoning MCP Server`.
    pub tool_name: String,
    /// What the tool does.
    pub description: Option<String>,
    /// How it is packed.
    pub packaging_type: PackagingType,
    /// Image name without a tag: `agentopia/reasoning-mcp-server`.
    pub package_identifier: String,
    /// Its versions.
    pub version_info: VersionInfo,
    /// `default_config_template`: typed container defaults, and (later) a JSON Schema with defaults for the tool's own configuration.
    pub default_config_template: ContainerDefaults,
    /// The secrets that it cannot run without.
    pub required_secrets_schema: Vec<RequiredSecret>,
    /// `{"min_ram_mb": 512}` and the like.
    pub resource_requirements: serde_json::Value,
    /// Whether it is offered.
    pub status: CatalogStatus,
}

impl CatalogEntry {
    /// The image reference of a version, or `None` when the catalog does not offer it.
    pub fn image(&self, version: &str) -> Option<String> {
        if !self.version_info.available_versions.iter().any(|offered| offered == version) {
            return None;
        }
        let details = self.version_info.version_details.get(version);
        Some(
            details
                .and_then(|details| details.package_identifier_override.clone())
                .unwrap_or_else(|| format!("{}:{version}", self.package_identifier)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_an_image_only_when_it_is_offered() {
        let entry: CatalogEntry = serde_json::from_value(serde_json::json!({
            "id": "00000000-0000-4000-8000-000000000001", "tool_name": "Echo", "description": null,
            "packaging_type": "docker_image", "package_identifier": "acme/echo",
            "version_info": {"available_versions": ["1", "2"], "default_version": "1",
                "version_details": {"2": {"package_identifier_override": "acme/echo-next@sha256:00"}}},
            "default_config_template": {}, "required_secrets_schema": [], "resource_requirements": {}, "status": "beta"
        }))
        .unwrap();
        assert_eq!(entry.image("1").as_deref(), Some("acme/echo:1"));
        assert_eq!(entry.image("2").as_deref(), Some("acme/echo-next@sha256:00"));
        assert_eq!(entry.image("latest"), None);
    }
}
