//! Counts the passes of a life's replicas, by the metrics that they have for operators.
//!
//! Owns: how many passes ended. Must not: know what they did.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Passes by kind and result.
const PASSES: &str = "toolplane_reconcile_total";

/// See the module. A life is played by one thread, whose recorder this is.
#[derive(Default)]
pub(crate) struct Passes(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Passes {
    /// How many passes of a kind have ended.
    pub(crate) fn of(&self, kind: &str) -> u64 {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.get(kind).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

impl Recorder for Passes {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut labels = key.labels().filter(|label| label.key() == "kind");
        match labels.next() {
            Some(kind) if key.name() == PASSES => {
                let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                Counter::from_arc(Arc::clone(counters.entry(kind.value().to_owned()).or_default()))
            }
            Some(_) | None => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
