//! Names of firewalls, which cannot be tagged. Owns: whose a firewall is by its name. Promises: names are unique in an account, and
//! only a whole name has an owner.

use model::{EnvironmentId, InstallationId};

/// The name of the installation's base firewall.
pub fn base(installation: &InstallationId) -> String {
    format!("toolplane-{installation}-base")
}

/// The name of an environment's firewall.
pub fn environment(installation: &InstallationId, environment: EnvironmentId) -> String {
    format!("toolplane-{installation}-{environment}")
}

/// The environment whose firewall has this name.
pub fn owner(installation: &InstallationId, name: &str) -> Option<EnvironmentId> {
    let rest = name.strip_prefix("toolplane-")?.strip_prefix(&installation.to_string())?;
    rest.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_name_has_an_owner() {
        let (demo, other): (InstallationId, InstallationId) = ("demo".parse().unwrap(), "demo-2".parse().unwrap());
        let id = EnvironmentId::random();
        assert_eq!(owner(&demo, &environment(&demo, id)), Some(id));
        assert_eq!(owner(&demo, &environment(&other, id)), None);
        assert_eq!(owner(&demo, &base(&demo)), None);
        assert_eq!(owner(&demo, &format!("{}x", environment(&demo, id))), None);
    }
}
