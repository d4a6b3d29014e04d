//! What a request speaks of that was there already, as it was just before.

use crate::world::{World, droplet::Droplet, firewall::Firewall};
use axum::http::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What kind of thing was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A droplet.
    Droplet,
    /// A firewall.
    Firewall,
}

/// Something that was there when a request spoke of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// What it is.
    pub kind: Resource,
    /// Its id, as text.
    pub id: String,
    /// Its name.
    pub name: String,
    /// A droplet's tags; for a firewall those of the droplets that it applies to.
    pub tags: Vec<String>,
}

impl Touched {
    /// Whether it carries a tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|known| known == tag)
    }

    fn droplet(droplet: &Droplet) -> Self {
        Self {
            kind: Resource::Droplet,
            id: droplet.id.to_string(),
            name: droplet.name.clone(),
            tags: droplet.tags.clone(),
        }
    }

    fn firewall(firewall: &Firewall) -> Self {
        Self {
            kind: Resource::Firewall,
            id: firewall.id().to_string(),
            name: firewall.name().to_owned(),
            tags: firewall.tags().to_vec(),
        }
    }
}

impl World {
    /// What a request speaks of: by its path, its query or its body.
    pub(crate) fn touched(&self, method: &Method, uri: &Uri, body: &Value) -> Vec<Touched> {
        let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let mut found = Found::new(self);
        match path.as_slice() {
            ["v2", "droplets"] if *method == Method::DELETE => found.tagged(&tag_name(uri)),
            ["v2", "droplets", id, ..] => found.droplet(&Value::from(*id)),
            ["v2", "firewalls", rest @ ..] => {
                if let Some(firewall) = rest.first().and_then(|id| self.firewall(id).ok()) {
                    found.firewalls.push(Touched::firewall(firewall));
                }
                for id in list(body, "droplet_ids") {
                    found.droplet(id);
                }
                for tag in list(body, "tags").iter().filter_map(Value::as_str) {
                    found.tagged(tag);
                }
            }
            ["v2", "tags", name] => found.tagged(name),
            ["v2", "tags", _, "resources"] => list(body, "resources")
                .iter()
                .filter_map(|resource| resource.get("resource_id"))
                .for_each(|id| found.droplet(id)),
            ["v2", "projects", _, "resources"] => list(body, "resources")
                .iter()
                .filter_map(|urn| urn.as_str()?.strip_prefix("do:droplet:"))
                .for_each(|id| found.droplet(&Value::from(id))),
            _ => {}
        }
        found.all()
    }
}

/// What was found so far, each droplet once.
struct Found<'a> {
    world: &'a World,
    firewalls: Vec<Touched>,
    droplets: BTreeMap<u64, &'a Droplet>,
}

impl<'a> Found<'a> {
    fn new(world: &'a World) -> Self {
        Self {
            world,
            firewalls: Vec::new(),
            droplets: BTreeMap::new(),
        }
    }

    /// By an id, as a number or as text.
    fn droplet(&mut self, id: &Value) {
        let id = id.as_u64().or_else(|| id.as_str()?.parse().ok());
        if let Some(droplet) = id.and_then(|id| self.world.droplets.get(id)) {
            self.droplets.insert(droplet.id, droplet);
        }
    }

    fn tagged(&mut self, tag: &str) {
        let tagged = self.world.droplets.tagged(tag);
        self.droplets.extend(tagged.map(|droplet| (droplet.id, droplet)));
    }

    fn all(self) -> Vec<Touched> {
        let droplets = self.droplets.into_values().map(Touched::droplet);
        self.firewalls.into_iter().chain(droplets).collect()
    }
}

fn list<'a>(body: &'a Value, field: &str) -> &'a [Value] {
    body.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn tag_name(uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default();
    let found = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "tag_name");
    found.map_or_else(String::new, |(_, value)| value.into_owned())
}
