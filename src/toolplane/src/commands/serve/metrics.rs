//! `/metrics`, for Prometheus.

use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use std::time::Duration;

/// How often collected metrics are brought into the form that is asked for.
const UPKEEP: Duration = Duration::from_secs(5);

pub(super) fn route(metrics: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(async move || metrics.render()))
}

/// Never ends.
pub(super) async fn upkeep(metrics: &PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}
