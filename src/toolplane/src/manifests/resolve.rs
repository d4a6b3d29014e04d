//! Names to rows: which rows the manifests speak of, and whether what they refer to is there.

use super::{
    check::listed,
    document::{CatalogEntrySpec, EnvironmentSpec, InstanceSpec, Manifest, Object},
    problem::{Problem, Problems},
};
use model::{CatalogEntry, CatalogId, Environment, EnvironmentId, Instance, InstanceId, UserId, catalog::CatalogStatus};
use schema::Change;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The rows that are there.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) catalog: Vec<CatalogEntry>,
    pub(crate) environments: Vec<Environment>,
    pub(crate) instances: Vec<Instance>,
}

/// One row to write, and what it is called.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// `accounttoolenvironment/example`.
    pub(crate) title: String,
    pub(crate) change: Change,
}

/// The rows to write, in an order in which each refers to earlier ones or to what is there.
pub(crate) fn resolve(manifests: &[Manifest], known: &Known) -> Result<Vec<Resolved>, Problems> {
    let mut resolution = Resolution {
        known,
        catalog: BTreeMap::new(),
        environments: BTreeMap::new(),
        titles: BTreeMap::new(),
        resolved: Vec::new(),
        problems: Problems::default(),
    };
    for manifest in manifests {
        resolution.refuse_repetition(manifest);
    }
    for manifest in manifests {
        if let Object::CatalogEntry(spec) = &manifest.object {
            resolution.catalog_entry(manifest, spec);
        }
    }
    for manifest in manifests {
        if let Object::Environment(spec) = &manifest.object {
            resolution.environment(manifest, spec);
        }
    }
    for manifest in manifests {
        if let Object::Instance(spec) = &manifest.object {
            resolution.instance(manifest, spec);
        }
    }
    let resolved = resolution.resolved;
    resolution.problems.or(resolved)
}

struct Resolution<'a> {
    known: &'a Known,
    /// What the manifests make of the catalog, by name.
    catalog: BTreeMap<String, CatalogEntry>,
    /// The environments of the manifests, by name.
    environments: BTreeMap<String, EnvironmentId>,
    titles: BTreeMap<String, usize>,
    resolved: Vec<Resolved>,
    problems: Problems,
}

impl Resolution<'_> {
    fn wrong<T>(&mut self, manifest: &Manifest, at: &Spanned<T>, field: &str, message: String, help: String) {
        let place = manifest.place(at.referenced);
        self.problems.push(Problem::new(&place, field, message, help));
    }

    fn push(&mut self, manifest: &Manifest, change: Change) {
        let title = manifest.title();
        self.resolved.push(Resolved { title, change });
    }

    fn refuse_repetition(&mut self, manifest: &Manifest) {
        // Instances of different environments may share a name.
        let title = match &manifest.object {
            Object::Instance(spec) => format!("{} of {}", manifest.title(), spec.environment.value),
            Object::CatalogEntry(_) | Object::Environment(_) => manifest.title(),
        };
        let count = self.titles.entry(title.clone()).or_default();
        *count += 1;
        if *count == 2 {
            let help = "each is written once; rename one or remove it".to_owned();
            self.wrong(
                manifest,
                &manifest.name,
                "metadata.name",
                format!("{title} is there twice"),
                help,
            );
        }
    }

    /// The row's id: the existing row's, else the manifest's, else a fresh one. Rows are known by their names, so a manifest that
    /// names another row's id is wrong.
    fn id(&mut self, manifest: &Manifest, existing: Option<Uuid>, others: &[Uuid]) -> Uuid {
        let Some(id) = &manifest.id else {
            return existing.unwrap_or_else(Uuid::new_v4);
        };
        match existing {
            Some(existing) if id.value != existing => {
                let message = format!("`{}` is not the id of what is called so", id.value);
                self.wrong(manifest, id, "metadata.id", message, format!("expected {existing}, or no id"));
            }
            None if others.contains(&id.value) => {
                let message = format!("`{}` is the id of a row that is called otherwise", id.value);
                self.wrong(
                    manifest,
                    id,
                    "metadata.id",
                    message,
                    "apply renames nothing; leave the id out to get a new row".to_owned(),
                );
            }
            Some(_) | None => {}
        }
        id.value
    }

    fn catalog_entry(&mut self, manifest: &Manifest, spec: &CatalogEntrySpec) {
        let name = manifest.name.value.clone();
        let existing = self
            .known
            .catalog
            .iter()
            .find(|entry| entry.tool_name == name)
            .map(|entry| entry.id.0);
        let others: Vec<Uuid> = self.known.catalog.iter().map(|entry| entry.id.0).collect();
        let id = self.id(manifest, existing, &others);
        let entry = CatalogEntry {
            id: CatalogId(id),
            tool_name: name.clone(),
            description: spec.description.clone(),
            packaging_type: spec.packaging_type,
            package_identifier: spec.package_identifier.value.clone(),
            version_info: spec.version_info.value.clone(),
            default_config_template: spec
                .default_config_template
                .as_ref()
                .map(|defaults| defaults.value.clone())
                .unwrap_or_default(),
            required_secrets_schema: spec.required_secrets_schema.clone(),
            resource_requirements: spec.resource_requirements.clone().into(),
            status: spec.status,
        };
        self.catalog.insert(name, entry.clone());
        self.push(manifest, Change::CatalogEntry(entry));
    }

    fn environment(&mut self, manifest: &Manifest, spec: &EnvironmentSpec) {
        let user_id = UserId(spec.user_id.value);
        let existing = self
            .known
            .environments
            .iter()
            .find(|environment| environment.spec.user_id == user_id);
        let existing = existing.map(|environment| environment.id.0);
        let others: Vec<Uuid> = self.known.environments.iter().map(|environment| environment.id.0).collect();
        let id = EnvironmentId(self.id(manifest, existing, &others));
        if self.environments.values().any(|other| *other == id) {
            let message = format!("user {} has an environment in these manifests already", spec.user_id.value);
            self.wrong(
                manifest,
                &spec.user_id,
                "spec.user_id",
                message,
                "there is one for each user".to_owned(),
            );
        }
        self.environments.insert(manifest.name.value.clone(), id);
        let change = model::EnvironmentSpec {
            user_id,
            region: spec.region_slug.value.as_str().into(),
            size: spec.size_slug.value.as_str().into(),
            image: spec.image_slug.value.as_str().into(),
            desired_state: spec.desired_state,
            paused: spec.paused,
        };
        self.push(manifest, Change::Environment(id, change));
    }

    fn instance(&mut self, manifest: &Manifest, spec: &InstanceSpec) {
        let (Some(environment_id), Some(tool)) = (self.find_environment(manifest, spec), self.find_tool(manifest, spec)) else {
            return;
        };
        let named = |instance: &&Instance| {
            let by_name = instance.spec.instance_name.as_ref() == Some(&manifest.name.value);
            instance.spec.environment_id == environment_id && by_name
        };
        let existing = self.known.instances.iter().find(named);
        let version = spec.version_to_run.as_ref().map(|version| version.value.clone());
        let version = version.unwrap_or_else(|| tool.version_info.default_version.clone());
        if tool.image(&version).is_none() {
            let message = format!("`{version}` is not offered by {}", tool.tool_name);
            let help = format!("expected one of {}", listed(&tool.version_info.available_versions));
            let at = spec.version_to_run.as_ref().unwrap_or(&spec.tool);
            self.wrong(manifest, at, "spec.version_to_run", message, help);
        }
        if existing.is_none() && matches!(tool.status, CatalogStatus::Deprecated | CatalogStatus::Archived) {
            let message = format!("{} is not for new instances any more", tool.tool_name);
            self.wrong(manifest, &spec.tool, "spec.tool", message, "expected another tool".to_owned());
        }
        let existing = existing.map(|instance| instance.id.0);
        let others: Vec<Uuid> = self.known.instances.iter().map(|instance| instance.id.0).collect();
        let id = self.id(manifest, existing, &others);
        let overrides = spec
            .config_values_override
            .as_ref()
            .map(|over| over.value.clone())
            .unwrap_or_default();
        let change = model::InstanceSpec {
            environment_id,
            catalog_id: tool.id,
            instance_name: Some(manifest.name.value.clone()),
            version_to_run: version,
            config_values_override: serde_json::to_value(overrides).unwrap_or_default(),
            desired_state: spec.desired_state,
            paused: spec.paused,
        };
        self.push(manifest, Change::Instance(InstanceId(id), change));
    }

    fn find_environment(&mut self, manifest: &Manifest, spec: &InstanceSpec) -> Option<EnvironmentId> {
        let text = &spec.environment.value;
        let by_id = text.parse().ok().map(EnvironmentId);
        let there = |id: &EnvironmentId| {
            self.known.environments.iter().any(|environment| environment.id == *id)
                || self.environments.values().any(|ours| ours == id)
        };
        let found = self.environments.get(text).copied().or_else(|| by_id.filter(there));
        if found.is_none() {
            let names: Vec<&String> = self.environments.keys().collect();
            let help = format!(
                "expected the id of an environment, or the name of one in these manifests ({})",
                listed(&names)
            );
            self.wrong(
                manifest,
                &spec.environment,
                "spec.environment",
                format!("there is no environment `{text}`"),
                help,
            );
        }
        found
    }

    fn find_tool(&mut self, manifest: &Manifest, spec: &InstanceSpec) -> Option<CatalogEntry> {
        let text = &spec.tool.value;
        let called = |entry: &&CatalogEntry| entry.tool_name == *text || entry.id.to_string() == *text;
        let found = self
            .catalog
            .values()
            .find(called)
            .or_else(|| self.known.catalog.iter().find(called))
            .cloned();
        if found.is_none() {
            let names: Vec<&String> = self
                .catalog
                .keys()
                .chain(self.known.catalog.iter().map(|entry| &entry.tool_name))
                .collect();
            let message = format!("there is no tool `{text}` in the catalog");
            self.wrong(
                manifest,
                &spec.tool,
                "spec.tool",
                message,
                format!("expected the name or id of one: {}", listed(&names)),
            );
        }
        found
    }
}
