//! Projects: `/v2/projects`. They only group what the control panel shows. Firewalls cannot be assigned to one.

use crate::{
    budget::Priority,
    client::{Client, Request},
    error::Error,
    page::Listed,
    wire::nullable,
};
use serde::{Deserialize, Serialize};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Names it.
    pub id: String,
    /// Unique in the account.
    pub name: String,
    /// Whether resources that name no project belong to it.
    #[serde(default, deserialize_with = "nullable")]
    pub is_default: bool,
}

/// A resource of a project, or what became of assigning it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// `do:droplet:1`.
    pub urn: String,
    /// `ok`, `not_found`, `assigned`, `already_assigned` or `service_down`.
    #[serde(default, deserialize_with = "nullable")]
    pub status: String,
}

impl Assignment {
    /// Whether the resource belongs to the project now.
    pub fn is_assigned(&self) -> bool {
        matches!(self.status.as_str(), "ok" | "assigned" | "already_assigned")
    }
}

impl Listed for Project {
    const KEY: &'static str = "projects";
    type Id = String;

    fn id(&self) -> String {
        self.id.clone()
    }
}

impl Listed for Assignment {
    const KEY: &'static str = "resources";
    type Id = String;

    fn id(&self) -> String {
        self.urn.clone()
    }
}

const RESOURCES: &str = "/v2/projects/{id}/resources";

impl Client {
    /// `GET /v2/projects`, all pages.
    pub async fn project_list(&self) -> Result<Vec<Project>, Error> {
        self.list(|| Request::get("project_list", "/v2/projects", "/v2/projects"))
            .await
    }

    /// `GET /v2/projects/default`.
    pub async fn project_default(&self) -> Result<Project, Error> {
        #[derive(Deserialize)]
        struct Answer {
            project: Project,
        }
        let request = Request::get("project_default", "/v2/projects/default", "/v2/projects/default");
        Ok(self.fetch::<Answer>(request).await?.project)
    }

    /// `GET /v2/projects/{id}/resources`, all pages.
    pub async fn project_resource_list(&self, project: &str) -> Result<Vec<Assignment>, Error> {
        self.list(|| {
            Request::get(
                "project_resource_list",
                RESOURCES,
                format!("/v2/projects/{project}/resources"),
            )
        })
        .await
    }

    /// `POST /v2/projects/{id}/resources` with URNs such as `do:droplet:1`. Each one's outcome is its own.
    pub async fn project_resources_assign(&self, project: &str, urns: &[String]) -> Result<Vec<Assignment>, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            resources: &'a [String],
        }
        #[derive(Deserialize)]
        struct Answer {
            #[serde(deserialize_with = "nullable")]
            resources: Vec<Assignment>,
        }
        let request = Request::new(
            "project_resources_assign",
            "POST",
            RESOURCES,
            format!("/v2/projects/{project}/resources"),
            Priority::Change,
        );
        let answer: Answer = self.fetch(request.body(&Body { resources: urns })?).await?;
        Ok(answer.resources)
    }
}
