//! Tags: `[a-zA-Z0-9_:-]`, at most 255.

use super::{World, firewall::Applied};
use crate::problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};

/// The body of `POST /v2/tags/{tag}/resources` and its DELETE.
#[derive(Debug, Deserialize)]
pub(crate) struct Resources {
    pub(crate) resources: Option<Vec<Resource>>,
}

/// Something to tag.
#[derive(Debug, Deserialize)]
pub(crate) struct Resource {
    /// Text by the documentation; some clients send the number.
    pub(crate) resource_id: Value,
    pub(crate) resource_type: String,
}

impl Resource {
    fn droplet(&self) -> Result<u64, Problem> {
        if self.resource_type != "droplet" {
            return Err(Problem::unprocessable("only droplets can be tagged in this simulator"));
        }
        let id = match &self.resource_id {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        id.ok_or_else(Problem::not_found)
    }
}

/// Whether a tag is spelled as tags are.
pub(crate) fn is_valid(name: &str) -> bool {
    let spelled = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    !name.is_empty() && name.len() <= 255 && name.chars().all(spelled)
}

impl World {
    /// Makes a tag, or finds it made.
    pub(crate) fn tag_create(&mut self, name: &str) -> Result<Value, Problem> {
        if !is_valid(name) {
            return Err(Problem::bad_tag(name));
        }
        self.tags.insert(name.to_owned());
        self.tag_get(name)
    }

    pub(crate) fn tag_get(&self, name: &str) -> Result<Value, Problem> {
        if !self.tags.contains(name) {
            return Err(Problem::not_found());
        }
        Ok(json!({"tag": self.tag_view(name)}))
    }

    pub(crate) fn tag_view(&self, name: &str) -> Value {
        let tagged = self.droplets.tagged_ids(name);
        let (count, last) = (tagged.len(), tagged.last());
        let mut droplets = json!({"count": count});
        if let Some(id) = last {
            droplets["last_tagged_uri"] = json!(format!("https://api.digitalocean.com/v2/droplets/{id}"));
        }
        let mut resources = droplets.clone();
        resources["droplets"] = droplets;
        for kind in ["images", "volumes", "volume_snapshots", "databases"] {
            resources[kind] = json!({"count": 0});
        }
        json!({"name": name, "resources": resources})
    }

    /// Deletes a tag and takes it off droplets and firewalls.
    pub(crate) fn tag_delete(&mut self, name: &str) -> Result<Vec<Applied>, Problem> {
        if !self.tags.remove(name) {
            return Err(Problem::not_found());
        }
        let untagged = self.droplets.tagged_ids(name);
        self.untag(name, &untagged);
        self.firewalls.forget_tag(name);
        Ok(self.droplet_tags_changed(&untagged))
    }

    /// Tags droplets. All of them or none.
    pub(crate) fn tag_resources_add(&mut self, name: &str, resources: &Resources) -> Result<Vec<Applied>, Problem> {
        let ids = self.tagged_ids(name, resources)?;
        for id in &ids {
            if self.droplets.get(*id).is_some_and(|droplet| !droplet.has_tag(name)) {
                self.droplets.change(*id, |droplet| droplet.tags.push(name.to_owned()));
            }
        }
        Ok(self.droplet_tags_changed(&ids))
    }

    /// Untags droplets. All of them or none.
    pub(crate) fn tag_resources_remove(&mut self, name: &str, resources: &Resources) -> Result<Vec<Applied>, Problem> {
        let ids = self.tagged_ids(name, resources)?;
        self.untag(name, &ids);
        Ok(self.droplet_tags_changed(&ids))
    }

    fn untag(&mut self, name: &str, ids: &[u64]) {
        for id in ids {
            self.droplets.change(*id, |droplet| droplet.tags.retain(|tag| tag != name));
        }
    }

    /// The droplets that a request names, all of which exist.
    pub(crate) fn tagged_ids(&self, name: &str, resources: &Resources) -> Result<Vec<u64>, Problem> {
        if !self.tags.contains(name) {
            return Err(Problem::not_found());
        }
        let named = resources.resources.as_deref().unwrap_or_default();
        let ids: Vec<u64> = named.iter().map(Resource::droplet).collect::<Result<_, _>>()?;
        if ids.iter().all(|id| self.droplets.contains(*id)) {
            Ok(ids)
        } else {
            Err(Problem::not_found())
        }
    }
}
