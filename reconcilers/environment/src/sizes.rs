//! The sizes that DigitalOcean offers. Owns: the memory of them, and whether a droplet can get another one. Must not: make requests.
//! Promises: a size that was never read is unknown, not missing.

use jiff::SignedDuration;
use model::Word;
use std::sync::{Arc, PoisonError, RwLock};

/// A list that lacks a size is read again when it is older than this: sizes come and go seldom.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

/// A size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its slug.
    pub slug: Word,
    /// Its disk in GiB.
    pub disk: u32,
    /// The slugs of the regions that offer it now; none when it is not offered at all.
    pub regions: Box<[Word]>,
}

/// What was read, and how long ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// `None` when they were never read.
    pub known: Option<Arc<[Size]>>,
    /// How long ago they were read.
    pub age: SignedDuration,
}

/// Whether a droplet can get a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// What is known does not tell; the next pass reads the sizes.
    Unknown,
    /// It can.
    Reachable,
    /// It cannot: a sentence that names the column and says what would be right.
    Unreachable(String),
}

impl Sizes {
    /// Whether a droplet in `region` with a disk of `disk` GiB can get the size `wanted`.
    pub fn reach(&self, wanted: &str, region: &str, disk: u32) -> Reach {
        let Some(known) = &self.known else { return Reach::Unknown };
        let offered = |size: &&Size| size.regions.iter().any(|offers| **offers == *region);
        let fitting = || {
            let fitting = known.iter().filter(offered).filter(|size| size.disk >= disk);
            let slugs: Vec<&str> = fitting.map(|size| size.slug.as_str()).take(5).collect();
            match slugs[..] {
                [] => "none fits".to_owned(),
                _ => format!("{} would fit", slugs.join(", ")),
            }
        };
        match known.iter().find(|size| size.slug == *wanted) {
            Some(size) if offered(&size) && size.disk >= disk => Reach::Reachable,
            Some(size) if offered(&size) => Reach::Unreachable(format!(
                "size_slug: {wanted} has a disk of {} GiB, the droplet's has {disk} and cannot shrink; {}",
                size.disk,
                fitting()
            )),
            Some(_) | None if self.age >= FRESH => Reach::Unknown,
            Some(_) => Reach::Unreachable(format!("size_slug: {wanted} is not offered in {region}; {}", fitting())),
            None => Reach::Unreachable(format!("size_slug: there is no size {wanted}; {}", fitting())),
        }
    }
}

/// The memory of one process.
#[derive(Debug, Default)]
pub(crate) struct SizeBook {
    read: RwLock<Option<(Arc<[Size]>, SignedDuration)>>,
}

impl SizeBook {
    /// What is remembered, at this moment.
    pub(crate) fn sizes(&self, now: SignedDuration) -> Sizes {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.as_ref().map_or_else(Sizes::default, |(known, at)| Sizes {
            known: Some(Arc::clone(known)),
            age: now - *at,
        })
    }

    /// Remembers a complete list that was asked for at `now`.
    pub(crate) fn learn(&self, listed: &[digitalocean::Size], now: SignedDuration) {
        let size = |size: &digitalocean::Size| Size {
            slug: size.slug.as_str().into(),
            disk: u32::try_from(size.disk).unwrap_or(u32::MAX),
            regions: if size.available {
                size.regions.iter().map(|region| region.as_str().into()).collect()
            } else {
                Box::default()
            },
        };
        let known = listed.iter().map(size).collect();
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = Some((known, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(age: SignedDuration) -> Sizes {
        let size = |slug: &str, disk, regions: &[&str]| Size {
            slug: slug.into(),
            disk,
            regions: regions.iter().map(|region| (*region).into()).collect(),
        };
        Sizes {
            known: Some(Arc::from([
                size("small", 10, &["nyc3"]),
                size("middle", 25, &["nyc3"]),
                size("elsewhere", 50, &["fra1"]),
                size("large", 80, &["nyc3", "fra1"]),
            ])),
            age,
        }
    }

    #[test]
    fn a_size_that_cannot_be_reached_names_the_column_and_what_would_fit() {
        let fresh = sizes(SignedDuration::ZERO);
        assert_eq!(fresh.reach("large", "nyc3", 25), Reach::Reachable);
        for (wanted, said) in [
            (
                "small",
                "size_slug: small has a disk of 10 GiB, the droplet's has 25 and cannot shrink; middle, large would fit",
            ),
            (
                "elsewhere",
                "size_slug: elsewhere is not offered in nyc3; middle, large would fit",
            ),
            ("nosuch", "size_slug: there is no size nosuch; middle, large would fit"),
        ] {
            assert_eq!(fresh.reach(wanted, "nyc3", 25), Reach::Unreachable(said.to_owned()));
        }
    }

    #[test]
    fn what_an_old_list_lacks_may_have_come_since() {
        let old = sizes(FRESH);
        assert_eq!(old.reach("nosuch", "nyc3", 25), Reach::Unknown);
        assert_eq!(old.reach("elsewhere", "nyc3", 25), Reach::Unknown);
        assert_eq!(old.reach("large", "nyc3", 25), Reach::Reachable);
        assert_eq!(Sizes::default().reach("large", "nyc3", 25), Reach::Unknown);
    }
}
