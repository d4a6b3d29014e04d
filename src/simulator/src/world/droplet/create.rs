//! `POST /v2/droplets`: the checks, in the words of the real thing, and the new droplets.

use super::{Droplet, Fate, Status, address_of};
use crate::{
    problem::Problem,
    seed::DropletSeed,
    world::{World, catalog::Image, now, tag},
};
use serde::Deserialize;
use serde_json::Value;
use std::{net::Ipv4Addr, sync::Arc};
use tokio::time::Instant;

const USER_DATA_LIMIT: usize = 64 * 1024;
const NAMES_LIMIT: usize = 10;

/// The body of a create. Clients send null for what they do not set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Create {
    name: Option<String>,
    names: Option<Vec<String>>,
    region: Option<String>,
    size: Option<String>,
    image: Option<Value>,
    ssh_keys: Option<Vec<Value>>,
    backups: Option<bool>,
    ipv6: Option<bool>,
    monitoring: Option<bool>,
    pub(super) tags: Option<Vec<String>>,
    user_data: Option<String>,
    vpc_uuid: Option<String>,
}

/// What was made: a droplet and its create action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) droplet: u64,
    pub(crate) action: u64,
}

impl Create {
    /// Whether the answer is a list.
    pub(crate) fn is_multiple(&self) -> bool {
        self.names.is_some()
    }

    /// What a seed would have been created with.
    pub(super) fn of(seed: DropletSeed) -> Self {
        Self {
            name: Some(seed.name),
            region: Some(seed.region),
            size: Some(seed.size),
            image: Some(Value::String(seed.image)),
            tags: Some(seed.tags),
            ..Self::default()
        }
    }

    fn names(&self) -> Result<Vec<String>, Problem> {
        let names = match (&self.name, &self.names) {
            (Some(name), None) => vec![name.clone()],
            (None, Some(names)) if names.len() <= NAMES_LIMIT => names.clone(),
            (None, Some(_)) => {
                return Err(Problem::unprocessable("You can only create up to 10 Droplets at once."));
            }
            (Some(_), Some(_)) => {
                return Err(Problem::unprocessable(
                    "You specified both name and names for Droplet creation.",
                ));
            }
            (None, None) => Vec::new(),
        };
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err(Problem::unprocessable("Name can't be blank"));
        }
        names.iter().try_for_each(|name| check_name(name))?;
        Ok(names)
    }

    fn features(&self) -> Vec<String> {
        let wanted = [
            (self.backups == Some(true), "backups"),
            (self.ipv6 == Some(true), "ipv6"),
            (self.monitoring == Some(true), "monitoring"),
            (true, "private_networking"),
        ];
        let wanted = wanted.iter().filter(|(wanted, _)| *wanted);
        wanted.map(|(_, feature)| (*feature).to_owned()).collect()
    }

    pub(super) fn check_rest(&self) -> Result<(), Problem> {
        if self.user_data.as_ref().is_some_and(|data| data.len() > USER_DATA_LIMIT) {
            return Err(Problem::unprocessable("User data is too long (maximum is 64 KiB)"));
        }
        if let Some(key) = self.ssh_keys.iter().flatten().next() {
            let message = format!("{key} are invalid key identifiers for Droplet creation.");
            return Err(Problem::unprocessable(&message));
        }
        match self.tags.iter().flatten().find(|name| !tag::is_valid(name)) {
            Some(name) => Err(Problem::unprocessable(&format!("Tag {name:?} contains invalid characters"))),
            None => Ok(()),
        }
    }
}

/// Whether a hostname is one.
pub(crate) fn check_name(name: &str) -> Result<(), Problem> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if name.len() > 255 {
        return Err(Problem::unprocessable("Name is too long (maximum is 255 characters)"));
    }
    if !name.chars().all(inner) || !name.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        let message = "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)";
        return Err(Problem::unprocessable(message));
    }
    Ok(())
}

/// Everything about a new droplet that its siblings share.
pub(super) struct Plan {
    size: String,
    region: String,
    image: Arc<Image>,
    vpc: uuid::Uuid,
}

impl World {
    /// Makes droplets, or nothing. `usable` says whether a droplet may have an address.
    pub(crate) fn droplet_create(&mut self, create: &Create, usable: impl Fn(Ipv4Addr) -> bool) -> Result<Vec<Created>, Problem> {
        let names = create.names()?;
        let plan = self.plan(create)?;
        create.check_rest()?;
        let limit = usize::try_from(self.settings.get().droplet_limit).unwrap_or(usize::MAX);
        if self.droplets.len() + names.len() > limit {
            return Err(Problem::droplet_limit());
        }
        self.tags.extend(create.tags.iter().flatten().cloned());
        Ok(names
            .into_iter()
            .map(|name| self.make(name, create, &plan, &usable))
            .collect())
    }

    pub(super) fn plan(&self, create: &Create) -> Result<Plan, Problem> {
        let refused = |what: &str| Problem::unprocessable(&format!("You specified an invalid {what} for Droplet creation."));
        let size = create.size.as_deref().and_then(|slug| self.catalog.size(slug));
        let size = size.ok_or_else(|| refused("size"))?;
        let image = create.image.as_ref().and_then(|named| self.catalog.image(named));
        let image = image.ok_or_else(|| refused("image"))?;
        let region = match create.region.as_deref().filter(|slug| !slug.is_empty()) {
            Some(slug) => self.catalog.region(slug),
            None => self.catalog.regions.iter().find(|region| region.sizes.contains(&size.slug)),
        };
        let region = region.ok_or_else(|| refused("region"))?;
        if !region.available {
            return Err(Problem::unprocessable("Region is not available"));
        }
        if !region.sizes.contains(&size.slug) {
            return Err(Problem::unprocessable("Size is not available in this region."));
        }
        if !image.regions.contains(&region.slug) {
            return Err(Problem::unprocessable("Image is not available in this region."));
        }
        let wanted = create.vpc_uuid.as_deref().filter(|id| !id.is_empty());
        Ok(Plan {
            vpc: self.catalog.vpc(&region.slug, wanted)?,
            size: size.slug.clone(),
            region: region.slug.clone(),
            image: Arc::clone(image),
        })
    }

    fn make(&mut self, name: String, create: &Create, plan: &Plan, usable: &impl Fn(Ipv4Addr) -> bool) -> Created {
        let id = self.droplet_id(usable);
        let action = self.action_begin(id, "create", &plan.region);
        let droplet = Droplet {
            event: Some(action),
            ..self.fresh(id, name, create, plan)
        };
        self.droplets.insert(droplet);
        Created { droplet: id, action }
    }

    /// A new droplet, as yet known to nobody.
    pub(super) fn fresh(&self, id: u64, name: String, create: &Create, plan: &Plan) -> Droplet {
        let size = self.catalog.size(&plan.size);
        Droplet {
            id,
            name,
            memory: size.map_or(0, |size| size.memory),
            vcpus: size.map_or(0, |size| size.vcpus),
            disk: size.map_or(0, |size| size.disk),
            size: plan.size.clone(),
            image: Arc::clone(&plan.image),
            region: plan.region.clone(),
            tags: create.tags.clone().unwrap_or_default(),
            status: Status::New,
            created_at: now(),
            created: Instant::now(),
            features: create.features(),
            user_data: create.user_data.as_deref().filter(|data| !data.is_empty()).map(Arc::from),
            vpc: plan.vpc,
            address: address_of(id),
            addressed: false,
            fate: Fate::default(),
            snapshot_ids: Vec::new(),
            event: None,
            destroying: false,
            project: None,
        }
    }

    /// The next id whose address nobody on this machine uses.
    pub(super) fn droplet_id(&mut self, usable: &impl Fn(Ipv4Addr) -> bool) -> u64 {
        loop {
            let id = self.next_droplet;
            self.next_droplet += 1;
            let address = address_of(id);
            if !self.droplets.is_taken(address) && usable(address) {
                return id;
            }
        }
    }
}
