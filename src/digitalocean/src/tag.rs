//! Tags: `/v2/tags`.

use crate::{
    budget::Priority,
    client::{Client, Request},
    error::Error,
    page::Listed,
};
use serde::{Deserialize, Serialize};

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// `[a-zA-Z0-9_:-]`, at most 255.
    pub name: String,
}

/// What can be tagged, as far as it concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// A droplet.
    Droplet,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A snapshot of a volume.
    VolumeSnapshot,
}

/// Something that can be tagged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// The id, as text also where it is a number.
    #[serde(rename = "resource_id")]
    pub id: String,
    /// What it is.
    #[serde(rename = "resource_type")]
    pub kind: ResourceKind,
}

impl Resource {
    /// A droplet.
    pub fn droplet(id: u64) -> Self {
        Self {
            id: id.to_string(),
            kind: ResourceKind::Droplet,
        }
    }
}

impl Listed for Tag {
    const KEY: &'static str = "tags";
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }
}

#[derive(Serialize)]
struct Resources<'a> {
    resources: &'a [Resource],
}

const RESOURCES: &str = "/v2/tags/{name}/resources";

impl Client {
    /// `POST /v2/tags`. A tag that is there already is no error.
    pub async fn tag_create(&self, name: &str) -> Result<(), Error> {
        let body = Tag { name: name.to_owned() };
        self.submit(Request::new("tag_create", "POST", "/v2/tags", "/v2/tags", Priority::Create).body(&body)?)
            .await
    }

    /// `GET /v2/tags`, all pages.
    pub async fn tag_list(&self) -> Result<Vec<Tag>, Error> {
        self.list(|| Request::get("tag_list", "/v2/tags", "/v2/tags")).await
    }

    /// `DELETE /v2/tags/{name}`: deletes the tag and takes it off everything.
    pub async fn tag_delete(&self, name: &str) -> Result<(), Error> {
        let request = Request::new(
            "tag_delete",
            "DELETE",
            "/v2/tags/{name}",
            format!("/v2/tags/{name}"),
            Priority::Delete,
        );
        self.submit(request).await
    }

    /// `POST /v2/tags/{name}/resources`: tags. The tag must exist.
    pub async fn tag_resources_add(&self, name: &str, resources: &[Resource]) -> Result<(), Error> {
        let request = Request::new(
            "tag_resources_add",
            "POST",
            RESOURCES,
            format!("/v2/tags/{name}/resources"),
            Priority::Change,
        );
        self.submit(request.body(&Resources { resources })?).await
    }

    /// `DELETE /v2/tags/{name}/resources`: untags.
    pub async fn tag_resources_remove(&self, name: &str, resources: &[Resource]) -> Result<(), Error> {
        let request = Request::new(
            "tag_resources_remove",
            "DELETE",
            RESOURCES,
            format!("/v2/tags/{name}/resources"),
            Priority::Change,
        );
        self.submit(request.body(&Resources { resources })?).await
    }
}
