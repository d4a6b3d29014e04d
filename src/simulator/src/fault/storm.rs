//! Everything at once: a set of rules for tests that run long.

use super::{Fault, FaultRule, PageFlaw, rules::dice};
use serde::{Deserialize, Serialize};

/// A storm of faults. On `POST /simulator/faults`: `{"storm": {"seed": 1, "intensity": 0.5}}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// The same seed strikes the same requests of a sequence.
    pub seed: u64,
    /// 0 is calm. At 1, about a fifth of all requests run into something, and half of the creates. Above 1, more so.
    pub intensity: f64,
    /// What a fault that lasts lasts at most, in milliseconds.
    #[serde(default = "two_seconds")]
    pub lasting_ms: u64,
}

fn two_seconds() -> u64 {
    2_000
}

const MUTATING: [&str; 3] = ["POST", "PUT", "DELETE"];
const READING: [&str; 1] = ["GET"];
const CREATE: (&str, &str) = ("POST", "/v2/droplets");

impl Storm {
    /// A storm whose lasting faults last two seconds at most.
    pub fn new(seed: u64, intensity: f64) -> Self {
        Self {
            seed,
            intensity,
            lasting_ms: two_seconds(),
        }
    }

    /// The rules that it is made of, each with dice of its own.
    pub fn rules(&self) -> Vec<FaultRule> {
        let anywhere = self.anywhere();
        let targeted = self.targeted().into_iter().map(|((method, path), fault, chance)| {
            let rule = FaultRule::next(method, path, fault);
            (rule, chance)
        });
        let all = anywhere.into_iter().chain(targeted).zip(0_u64..);
        all.map(|((rule, chance), number)| {
            let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(number);
            rule.chance(chance * self.intensity, seed)
        })
        .collect()
    }

    /// What happens on the way, whatever was asked.
    fn anywhere(&self) -> Vec<(FaultRule, f64)> {
        let html = |status, after_effect| Fault::Html { status, after_effect };
        let changes = [
            (Fault::DropBefore, 0.03),
            (Fault::DropAfter, 0.05),
            (Fault::Timeout { after_effect: false }, 0.01),
            (Fault::Timeout { after_effect: true }, 0.01),
            (html(500, false), 0.01),
            (html(502, true), 0.01),
            (html(503, false), 0.01),
            (html(504, true), 0.02),
            (Fault::TryAgain, 0.02),
            (Fault::Burst { retry_after: 1 }, 0.02),
            (Fault::HourSpent { reset_after: 2 }, 0.005),
        ];
        let reads = [
            (Fault::DropBefore, 0.03),
            (Fault::Timeout { after_effect: false }, 0.005),
            (html(503, false), 0.03),
            (html(504, true), 0.02),
            (Fault::Burst { retry_after: 1 }, 0.02),
            (Fault::Delay { ms: self.lasting_ms / 4 }, 0.05),
        ];
        let of = |methods: &[&str], faults: &[(Fault, f64)]| -> Vec<(FaultRule, f64)> {
            let pairs = methods
                .iter()
                .flat_map(|method| faults.iter().map(move |fault| (*method, fault)));
            pairs
                .map(|(method, (fault, chance))| (FaultRule::next(method, "/v2/*", fault.clone()), *chance))
                .collect()
        };
        [of(&MUTATING, &changes), of(&READING, &reads)].concat()
    }

    /// What only some requests can run into.
    fn targeted(&self) -> Vec<((&'static str, &'static str), Fault, f64)> {
        let lasting = |number| self.lasting(number);
        let list = |path| ("GET", path);
        let mut rules = vec![
            (CREATE, Fault::DropletLimit, 0.02),
            (CREATE, Fault::Vanish { after_ms: 0 }, 0.03),
            (CREATE, Fault::Vanish { after_ms: lasting(1) }, 0.02),
            (CREATE, Fault::Hide { ms: lasting(2) }, 0.15),
            (CREATE, Fault::Addressless { ms: lasting(3) }, 0.1),
            (("DELETE", "/v2/droplets/*"), Fault::PendingEvent, 0.05),
            (("DELETE", "/v2/droplets/*"), Fault::Farewell { ms: self.lasting_ms }, 0.15),
            (("POST", "/v2/droplets/*/actions"), Fault::PendingEvent, 0.1),
            (("POST", "/v2/droplets/*/actions"), Fault::SlowAction { ms: lasting(4) }, 0.1),
            (("POST", "/v2/droplets/*/actions"), Fault::ActionErrored, 0.05),
            (("POST", "*"), Fault::FirewallWaits { ms: lasting(5) }, 0.1),
            (("PUT", "*"), Fault::FirewallWaits { ms: lasting(6) }, 0.1),
        ];
        for path in ["/v2/droplets", "/v2/firewalls"] {
            for (flaw, chance) in [
                (PageFlaw::ElementsMissing, 0.02),
                (PageFlaw::NextMissing, 0.02),
                (PageFlaw::HalfTheList, 0.01),
                (PageFlaw::EmptyPage, 0.01),
                (PageFlaw::EmptyList, 0.01),
            ] {
                rules.push((list(path), Fault::Page { flaw }, chance));
            }
            rules.push((list(path), Fault::Stale { ms: self.lasting_ms }, 0.1));
            rules.push((list(path), Fault::Stale { ms: lasting(7) }, 0.1));
        }
        rules
    }

    /// How long one of the lasting faults lasts: the seed decides.
    fn lasting(&self, number: u64) -> u64 {
        /// Parts that the longest time is divided into.
        const PARTS: u16 = 16;
        let thrown = dice(self.seed, number);
        let part = (1..PARTS)
            .find(|part| thrown < f64::from(*part) / f64::from(PARTS))
            .unwrap_or(PARTS);
        self.lasting_ms * u64::from(part) / u64::from(PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_storm_has_every_kind_and_its_seed_decides() {
        let storm = Storm::new(1, 0.5);
        assert_eq!(storm.rules(), storm.rules());
        assert_ne!(storm.rules(), Storm::new(2, 0.5).rules());
        let kinds: HashSet<_> = storm.rules().iter().map(|rule| rule.fault.kind()).collect();
        assert_eq!(
            kinds.len(),
            19,
            "all but `refuse`, which has words of the caller's: {kinds:?}"
        );
        let seeds: HashSet<_> = storm.rules().iter().map(|rule| rule.seed).collect();
        assert_eq!(seeds.len(), storm.rules().len(), "no two rules share dice");
        assert!(Storm::new(1, 0.0).rules().iter().all(|rule| rule.chance == 0.0));
    }
}
