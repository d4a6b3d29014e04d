//! How answers are read: tolerant where DigitalOcean is loose. Owns serde details only.

use serde::{Deserialize, Deserializer};

/// Reads null as the type's default. DigitalOcean sends null for many an empty list or text.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
