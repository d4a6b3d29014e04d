//! The tags that say whose a DigitalOcean resource is. Only what carries [`installation`] is ever touched.

use crate::{EnvironmentId, InstallationId, IntentId};

/// On everything that any Toolplane made.
pub const TOOLPLANE: &str = "toolplane";

/// On everything that this installation made: `toolplane:installation:demo`.
pub fn installation(id: &InstallationId) -> String {
    format!("toolplane:installation:{id}")
}

/// On everything of one environment: `toolplane:environment:<uuid>`.
pub fn environment(id: EnvironmentId) -> String {
    format!("toolplane:environment:{id}")
}

/// On the droplet that one intent made: `toolplane:intent:<uuid>`.
pub fn intent(id: IntentId) -> String {
    format!("toolplane:intent:{id}")
}

/// The name of an environment's droplet. Names are not unique, and only help to tell whose a droplet is.
pub fn droplet_name(id: EnvironmentId) -> String {
    format!("toolplane-{id}")
}

/// Whether a resource's tags name another installation, or another environment than this.
pub fn is_foreign<'a>(tags: impl IntoIterator<Item = &'a str>, id: EnvironmentId, installation: &InstallationId) -> bool {
    let (mine, environment) = (self::installation(installation), self::environment(id));
    tags.into_iter().any(|tag| {
        let another = |prefix, own: &str| tag.starts_with(prefix) && tag != own;
        another("toolplane:installation:", &mine) || another("toolplane:environment:", &environment)
    })
}

/// The environment that a resource's tags name; `None` without exactly this installation's tag and one environment's.
pub fn owner<'a>(tags: impl IntoIterator<Item = &'a str> + Clone, id: &InstallationId) -> Option<EnvironmentId> {
    let installation = installation(id);
    if !tags.clone().into_iter().any(|tag| tag == installation) {
        return None;
    }
    let mut named = tags
        .into_iter()
        .filter_map(|tag| tag.strip_prefix("toolplane:environment:")?.parse().ok());
    let first = named.next()?;
    named.next().is_none().then_some(first)
}

/// The intent that a droplet's tags name.
pub fn intent_of<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<IntentId> {
    tags.into_iter()
        .find_map(|tag| tag.strip_prefix("toolplane:intent:")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_resources_have_an_owner() {
        let (ours, theirs): (InstallationId, InstallationId) = ("demo".parse().unwrap(), "prod".parse().unwrap());
        let (one, two) = (EnvironmentId::random(), EnvironmentId::random());
        let tags = [TOOLPLANE.to_owned(), installation(&ours), environment(one)];
        assert_eq!(owner(tags.iter().map(String::as_str), &ours), Some(one));
        assert_eq!(owner(tags.iter().map(String::as_str), &theirs), None);
        let both = [installation(&ours), environment(one), environment(two)];
        assert_eq!(owner(both.iter().map(String::as_str), &ours), None, "two owners are none");
    }
}
