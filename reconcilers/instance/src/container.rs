//! One instance's container, from the catalog's defaults and the row's overrides. Owns: what a specification may say. Must not:
//! know other instances. Promises: what is refused is refused by the name of its field, and nothing else is.

use model::{
    CatalogEntry, ContainerSpec, InstanceSpec,
    container::{ContainerDefaults, Probe},
};

/// Why a specification cannot be run as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The row's field: `version_to_run`, `config_values_override.memory_mb`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Docker refuses less.
const LEAST_MEMORY_MB: u32 = 6;
const MOST_GRACE_SECONDS: u32 = 600;

/// The container that a row asks for.
pub(crate) fn container(spec: &InstanceSpec, entry: &CatalogEntry) -> Result<ContainerSpec, Refusal> {
    let Some(image) = entry.image(&spec.version_to_run) else {
        return Err(Refusal {
            field: "version_to_run".to_owned(),
            message: format!(
                "{} does not offer {:?}; it offers {}",
                entry.tool_name,
                spec.version_to_run,
                entry.version_info.available_versions.join(", ")
            ),
        });
    };
    let over = overrides(&spec.config_values_override)?;
    let container = entry.default_config_template.overridden_by(&over).into_spec(image);
    check(&container)?;
    Ok(container)
}

fn overrides(values: &serde_json::Value) -> Result<ContainerDefaults, Refusal> {
    if values.is_null() {
        return Ok(ContainerDefaults::default());
    }
    if !values.is_object() {
        return Err(Refusal {
            field: "config_values_override".to_owned(),
            message: "expected an object, such as {\"memory_mb\": 128}".to_owned(),
        });
    }
    serde_path_to_error::deserialize(values).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." {
            "config_values_override".to_owned()
        } else {
            format!("config_values_override.{path}")
        };
        Refusal {
            field,
            message: error.into_inner().to_string(),
        }
    })
}

/// What the types leave open.
fn check(container: &ContainerSpec) -> Result<(), Refusal> {
    let refuse = |field: &str, message: &str| {
        Err(Refusal {
            field: format!("config_values_override.{field}"),
            message: message.to_owned(),
        })
    };
    if container.memory_mb < LEAST_MEMORY_MB {
        return refuse("memory_mb", "at least 6 MiB");
    }
    if container.cpu_millis == 0 {
        return refuse("cpu_millis", "at least 1 thousandth of a core");
    }
    if container.pids == 0 {
        return refuse("pids", "at least 1 process");
    }
    if container.stop_grace_seconds > MOST_GRACE_SECONDS {
        return refuse("stop_grace_seconds", "at most 600 seconds");
    }
    if container.container_port == Some(0) {
        return refuse("container_port", "a port from 1 to 65535");
    }
    let names = container.environment.keys();
    if names.into_iter().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return refuse("environment", "names are not empty and have no '='");
    }
    match &container.probe {
        Probe::Http { path } | Probe::Mcp { path } if !path.starts_with('/') => {
            refuse("probe.path", "an absolute path, such as /mcp")
        }
        Probe::Http { .. } | Probe::Mcp { .. } if container.container_port.is_none() => {
            refuse("container_port", "this probe needs the port that the tool listens on")
        }
        Probe::Tcp | Probe::Http { .. } | Probe::Mcp { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{catalog_entry, instance};
    use serde_json::json;

    fn refusal(values: serde_json::Value) -> String {
        let mut spec = instance().spec;
        spec.config_values_override = values;
        container(&spec, &catalog_entry()).unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_names_the_field() {
        for (values, expected) in [
            (
                json!({"privileged": true}),
                "config_values_override.privileged: unknown field",
            ),
            (json!({"memory_mb": "much"}), "config_values_override.memory_mb: invalid type"),
            (json!({"memory_mb": 1}), "config_values_override.memory_mb: at least 6 MiB"),
            (
                json!({"probe": {"type": "mcp", "path": "mcp"}}),
                "config_values_override.probe.path: an absolute path",
            ),
            (
                json!({"environment": {"A=B": "1"}}),
                "config_values_override.environment: names",
            ),
            (json!({"pids": 0}), "config_values_override.pids: at least 1"),
            (json!([]), "config_values_override"),
        ] {
            let refused = refusal(values.clone());
            assert!(refused.starts_with(expected), "{values}: {refused}");
        }
    }

    #[test]
    fn a_version_that_is_not_offered_names_those_that_are() {
        let mut spec = instance().spec;
        spec.version_to_run = "9".to_owned();
        let refused = container(&spec, &catalog_entry()).unwrap_err().to_string();
        assert_eq!(refused, "version_to_run: Echo does not offer \"9\"; it offers 1, 2");
    }

    #[test]
    fn defaults_and_overrides_make_the_container() {
        let mut spec = instance().spec;
        spec.config_values_override = json!({"memory_mb": 96});
        let made = container(&spec, &catalog_entry()).unwrap();
        assert_eq!(
            (made.image.as_str(), made.memory_mb, made.container_port),
            ("acme/echo:1", 96, Some(8080))
        );
        spec.config_values_override = serde_json::Value::Null;
        assert_eq!(container(&spec, &catalog_entry()).unwrap().memory_mb, 256);
    }
}
