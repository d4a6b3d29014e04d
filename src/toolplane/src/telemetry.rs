//! Logs and metrics of this process.

use crate::cli::LogFormat;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use miette::{IntoDiagnostic, WrapErr};
use std::{fs::File, io::IsTerminal, path::Path, sync::Mutex};
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `default` is the filter when nobody gave one.
pub(crate) fn log(filter: Option<&str>, format: Option<LogFormat>, default: &str) -> miette::Result<()> {
    let filter = EnvFilter::try_new(filter.unwrap_or(default))
        .into_diagnostic()
        .wrap_err("--log (TOOLPLANE_LOG): expected a filter such as `info` or `info,schema=debug`")?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    // Nobody looks at what does not go to a terminal without a program in between.
    let started = match format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json }) {
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Pretty => builder.compact().try_init(),
    };
    started.map_err(|error| miette::miette!("cannot start logging: {error}"))
}

/// Starts logging to a file, for a command whose standard error a person looks at.
pub(crate) fn log_to_file(path: &Path, filter: &str) -> miette::Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let file = file
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write {}", path.display()))?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .try_init()
        .map_err(|error| miette::miette!("cannot start logging: {error}"))
}

/// Collects metrics from now on; the handle renders them in Prometheus's format.
pub(crate) fn record_metrics() -> miette::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .install_recorder()
        .into_diagnostic()
        .wrap_err("cannot collect metrics")
}
