//! The rules that wait for requests, and their dice.

use super::{Fault, FaultRule};
use axum::http::{Method, Uri, request::Parts};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What was asked, as rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
        })
    }
}

/// The rules that are not used up, oldest first, and what they have done.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rules: Vec<Waiting>,
    struck: BTreeMap<&'static str, u64>,
}

/// A rule, and how many requests it has seen.
#[derive(Debug)]
struct Waiting {
    rule: FaultRule,
    seen: u64,
}

impl Faults {
    pub(crate) fn add(&self, rule: FaultRule) {
        self.lock().rules.push(Waiting { rule, seen: 0 });
    }

    pub(crate) fn clear(&self) {
        self.lock().rules.clear();
    }

    pub(crate) fn waiting(&self) -> Vec<FaultRule> {
        self.lock().rules.iter().map(|waiting| waiting.rule.clone()).collect()
    }

    /// How many requests have run into each kind of fault.
    pub(crate) fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.lock().struck.clone()
    }

    /// What a request runs into, of the faults that are wanted: the first rule that matches and whose dice say so.
    pub(crate) fn strike<T>(&self, asked: &Asked, wanted: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        let (index, struck) = state.rules.iter_mut().enumerate().find_map(|(index, waiting)| {
            let struck = wanted(&waiting.rule.fault)?;
            waiting.strikes(asked).then_some((index, struck))
        })?;
        let rule = &mut state.rules[index].rule;
        let kind = rule.fault.kind();
        rule.times = rule.times.map(|times| times.saturating_sub(1));
        if rule.times == Some(0) {
            state.rules.remove(index);
        }
        *state.struck.entry(kind).or_default() += 1;
        Some(struck)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whether a request runs into it. Each one that matches throws the dice once.
    fn strikes(&mut self, asked: &Asked) -> bool {
        if self.rule.times == Some(0) || !self.rule.matches(asked) {
            return false;
        }
        let number = self.seen;
        self.seen += 1;
        number >= u64::from(self.rule.skip) && dice(self.rule.seed, number) < self.rule.chance
    }
}

impl FaultRule {
    fn matches(&self, asked: &Asked) -> bool {
        let path_matches = |wanted: &str| {
            if wanted.contains('?') {
                let whole = asked.uri.path_and_query().map_or("", |whole| whole.as_str());
                is_like(whole, wanted)
            } else {
                is_like(asked.uri.path(), wanted)
            }
        };
        self.method
            .as_deref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(asked.method.as_str()))
            && self.path.as_deref().is_none_or(path_matches)
    }
}

/// Whether a text is spelled like a pattern, in which `*` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((beginning, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(beginning) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(end)
}

/// A number from 0 to below 1, which the seed and the number of the throw decide (`splitmix64`).
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds exactly")]
pub(super) fn dice(seed: u64, number: u64) -> f64 {
    let mut mixed = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, uri: &str) -> Asked {
        Asked {
            method: method.parse().unwrap(),
            uri: uri.parse().unwrap(),
        }
    }

    fn pattern(rule: FaultRule, requests: usize) -> Vec<bool> {
        let faults = Faults::default();
        faults.add(rule);
        let asked = asked("POST", "/v2/droplets");
        (0..requests).map(|_| faults.strike(&asked, Fault::spoil).is_some()).collect()
    }

    #[test]
    fn stars_stand_for_anything() {
        for (text, pattern, like) in [
            ("/v2/droplets", "/v2/droplets", true),
            ("/v2/droplets/1", "/v2/droplets", false),
            ("/v2/droplets/1", "/v2/droplets/*", true),
            ("/v2/droplets/1/actions", "/v2/droplets/*/actions", true),
            ("/v2/droplets/1", "/v2/droplets/*/actions", false),
            ("/v2/firewalls/1/tags", "/v2/*/1/*s", true),
            ("/a", "*", true),
            ("/ab", "/ab*b", false),
        ] {
            assert_eq!(is_like(text, pattern), like, "{text} {pattern}");
        }
    }

    #[test]
    fn a_rule_matches_by_method_path_and_query() {
        let rule = FaultRule::next("GET", "/v2/droplets?*&page=2*", Fault::DropBefore);
        assert!(rule.matches(&asked("GET", "/v2/droplets?per_page=200&page=2")));
        assert!(!rule.matches(&asked("GET", "/v2/droplets?per_page=200&page=1")));
        assert!(!rule.matches(&asked("POST", "/v2/droplets?page=2")));
        assert!(FaultRule::new(Fault::DropBefore).matches(&asked("PUT", "/anything")));
    }

    #[test]
    fn the_same_seed_strikes_the_same_requests() {
        let rule = |seed| FaultRule::new(Fault::DropBefore).chance(0.3, seed);
        let first = pattern(rule(7), 1_000);
        assert_eq!(first, pattern(rule(7), 1_000));
        assert_ne!(first, pattern(rule(8), 1_000));
        let struck = first.iter().filter(|struck| **struck).count();
        assert!((250..350).contains(&struck), "{struck} of 1,000 at 0.3");
    }

    #[test]
    fn a_rule_can_skip_requests_and_is_used_up() {
        let rule = FaultRule::new(Fault::DropBefore).skip(1).times(2);
        assert_eq!(pattern(rule, 5), [false, true, true, false, false]);
        assert!(
            pattern(FaultRule::new(Fault::DropBefore).always(), 5)
                .iter()
                .all(|struck| *struck)
        );
    }

    #[test]
    fn a_rule_is_not_used_up_by_requests_that_it_means_nothing_to() {
        let faults = Faults::default();
        faults.add(FaultRule::new(Fault::Farewell { ms: 5 }));
        let asked = asked("POST", "/v2/droplets");
        assert_eq!(faults.strike(&asked, Fault::spoil), None);
        assert_eq!(faults.strike(&asked, Fault::farewell), Some(5));
        assert_eq!(faults.strike(&asked, Fault::farewell), None);
        assert_eq!(faults.struck(), BTreeMap::from([("farewell", 1)]));
    }
}
