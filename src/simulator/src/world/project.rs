//! Projects. A droplet belongs to the default project until it is assigned to another.

use super::{World, droplet::Droplet, now};
use crate::problem::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// A project.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Project {
    pub(crate) id: Uuid,
    pub(crate) owner_uuid: Uuid,
    pub(crate) owner_id: u64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) purpose: String,
    pub(crate) environment: String,
    pub(crate) is_default: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// The body of a create or an update.
#[derive(Debug, Deserialize)]
pub(crate) struct ProjectRequest {
    name: Option<String>,
    description: Option<String>,
    purpose: Option<String>,
    environment: Option<String>,
    is_default: Option<bool>,
}

/// The body of `POST /v2/projects/{id}/resources`.
#[derive(Debug, Deserialize)]
pub(crate) struct Assign {
    resources: Option<Vec<String>>,
}

impl Project {
    pub(crate) fn default_of(owner: Uuid) -> Self {
        Self {
            id: Uuid::new_v4(),
            owner_uuid: owner,
            owner_id: 258_992,
            name: "first-project".to_owned(),
            description: "Update your project information under Settings".to_owned(),
            purpose: "Just trying out DigitalOcean".to_owned(),
            environment: "Development".to_owned(),
            is_default: true,
            created_at: now(),
            updated_at: now(),
        }
    }
}

impl World {
    /// The project of this id, where `default` is one too.
    pub(crate) fn project(&self, id: &str) -> Result<&Project, Problem> {
        let found = match id {
            "default" => self.projects.values().find(|project| project.is_default),
            _ => id.parse().ok().and_then(|id: Uuid| self.projects.get(&id)),
        };
        found.ok_or_else(Problem::not_found)
    }

    pub(crate) fn project_create(&mut self, request: ProjectRequest) -> Result<Value, Problem> {
        let name = request.name.filter(|name| !name.is_empty() && name.chars().count() <= 175);
        let name = name.ok_or_else(|| Problem::unprocessable("name is required and has at most 175 characters"))?;
        let purpose = request.purpose.filter(|purpose| !purpose.is_empty());
        let purpose = purpose.ok_or_else(|| Problem::unprocessable("purpose is required"))?;
        if self.projects.values().any(|project| project.name == name) {
            return Err(Problem::conflict("name is already in use"));
        }
        let project = Project {
            id: Uuid::new_v4(),
            name,
            purpose,
            description: request.description.unwrap_or_default(),
            environment: request.environment.unwrap_or_else(|| "Development".to_owned()),
            is_default: false,
            ..Project::default_of(self.account)
        };
        let answer = json!({"project": project});
        self.projects.insert(project.id, project);
        Ok(answer)
    }

    /// PUT and PATCH: what is absent stays as it is.
    pub(crate) fn project_update(&mut self, id: &str, request: ProjectRequest) -> Result<Value, Problem> {
        let id = self.project(id)?.id;
        if request.is_default == Some(true) {
            for project in self.projects.values_mut() {
                project.is_default = project.id == id;
            }
        }
        let project = self.projects.get_mut(&id).ok_or_else(Problem::not_found)?;
        let changes = [
            (&mut project.name, request.name),
            (&mut project.description, request.description),
            (&mut project.purpose, request.purpose),
            (&mut project.environment, request.environment),
        ];
        for (field, new) in changes {
            if let Some(new) = new {
                *field = new;
            }
        }
        project.updated_at = now();
        Ok(json!({"project": project}))
    }

    pub(crate) fn project_delete(&mut self, id: &str) -> Result<(), Problem> {
        let project = self.project(id)?;
        if project.is_default || self.project_droplets(project.id).next().is_some() {
            return Err(Problem::conflict(
                "only a project without resources can be deleted, and never the default one",
            ));
        }
        let id = project.id;
        self.projects.remove(&id);
        Ok(())
    }

    /// The droplets of a project.
    pub(crate) fn project_droplets(&self, id: Uuid) -> impl Iterator<Item = u64> {
        let droplets = self.droplets.iter().filter(move |droplet| self.belongs(droplet, id));
        droplets.map(|droplet| droplet.id)
    }

    /// Whether a droplet belongs to a project. One that was never assigned belongs to the default one.
    fn belongs(&self, droplet: &Droplet, project: Uuid) -> bool {
        match droplet.project {
            Some(assigned) => assigned == project,
            None => self.projects.get(&project).is_some_and(|project| project.is_default),
        }
    }

    /// Assigns resources; each has an outcome of its own.
    pub(crate) fn project_assign(&mut self, id: &str, assign: &Assign) -> Result<Value, Problem> {
        let project = self.project(id)?.id;
        let urns = assign.resources.as_deref().unwrap_or_default();
        if let Some(urn) = urns.iter().find(|urn| urn.starts_with("do:firewall:")) {
            return Err(Problem::unprocessable(&format!(
                "{urn} is not a resource that can be assigned to a project"
            )));
        }
        let outcomes: Vec<Value> = urns.iter().map(|urn| self.assign_one(project, urn)).collect();
        Ok(json!({"resources": outcomes, "links": {}, "meta": {"total": outcomes.len()}}))
    }

    fn assign_one(&mut self, project: Uuid, urn: &str) -> Value {
        let id = urn.strip_prefix("do:droplet:").and_then(|id| id.parse::<u64>().ok());
        let status = match id.and_then(|id| self.droplets.get(id)) {
            None => "not_found",
            Some(droplet) if self.belongs(droplet, project) => "already_assigned",
            Some(droplet) => {
                self.droplets.change(droplet.id, |droplet| droplet.project = Some(project));
                "assigned"
            }
        };
        resource_view(urn, status)
    }
}

/// A resource of a project, as lists and assignments show it.
pub(crate) fn resource_view(urn: &str, status: &str) -> Value {
    let id = urn.rsplit(':').next().unwrap_or_default();
    json!({
        "urn": urn,
        "assigned_at": now(),
        "links": {"self": format!("https://api.digitalocean.com/v2/droplets/{id}")},
        "status": status,
    })
}
