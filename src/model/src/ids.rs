//! Typed identifiers. An id never stands for another kind's id, and none is ever made from a name's prefix.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh random (version 4) id.
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

uuid_id! {
    /// `account_tool_environments.id`, and the key of every reconciler of the control plane.
    EnvironmentId;
    /// `account_tool_instances.id`.
    InstanceId;
    /// `tool_catalog.id`.
    CatalogId;
    /// `auth.users.id`.
    UserId;
    /// `provisioning_intents.id`: one announced effect on DigitalOcean.
    IntentId;
}

/// How many shards the keys are spread over. Fixed: a lease row exists for each.
pub const SHARDS: u16 = 64;

impl EnvironmentId {
    /// The shard that this key belongs to: the id's last byte modulo [`SHARDS`]. Postgres computes the same number.
    pub fn shard(self) -> u16 {
        u16::from(self.0.as_bytes()[15]) % SHARDS
    }
}

/// A droplet's id at DigitalOcean: a positive integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DropletId(pub u64);

impl fmt::Display for DropletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one installation of Toolplane within a DigitalOcean account: 1 to 32 of `a-z`, `0-9` and `-`, starting with a letter.
///
/// Two installations in one account never touch each other's resources, because every tag carries this id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct InstallationId(String);

/// The text is no installation id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("installation id {0:?}: expected 1 to 32 of a-z, 0-9 and '-', starting with a letter")]
pub struct InvalidInstallationId(String);

impl FromStr for InstallationId {
    type Err = InvalidInstallationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        let spelled_well = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if starts_well && spelled_well && text.len() <= 32 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidInstallationId(text.to_owned()))
        }
    }
}

impl<'de> Deserialize<'de> for InstallationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installation_ids_are_checked() {
        for good in ["a", "prod", "demo-2"] {
            assert_eq!(good.parse::<InstallationId>().unwrap().to_string(), good);
        }
        for bad in ["", "2demo", "Prod", "a_b", "a:b", &"a".repeat(33)] {
            assert_eq!(bad.parse::<InstallationId>(), Err(InvalidInstallationId(bad.to_owned())));
        }
    }

    #[test]
    fn every_shard_is_below_the_count() {
        let shards: std::collections::BTreeSet<u16> = (0..10_000).map(|_| EnvironmentId::random().shard()).collect();
        assert_eq!(shards, (0..SHARDS).collect());
    }
}
