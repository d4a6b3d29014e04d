//! End-to-end stories over real parts: Postgres, the Docker engine, a registry, the DigitalOcean simulator with real agents,
//! and `toolplane` as a process. One process runs them all, so that engine and registry are started once and end with it.

mod bad_input;
mod crash;
mod deletion;
mod drift;
mod explanation;
mod lifecycle;

use e2e::{Stage, World};
use futures::FutureExt;
use libtest_mimic::{Arguments, Failed, Trial};
use std::{any::Any, future::Future, panic::AssertUnwindSafe, process::ExitCode, sync::Arc};

/// Stories that run at once: each has a control plane, a simulator and agents of its own, on two cores.
const AT_ONCE: usize = 3;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nobody has installed another");
    if arguments.list {
        return libtest_mimic::run(&arguments, stories(None)).exit_code();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stage = match runtime.block_on(Stage::set()) {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            eprintln!("the stage cannot be set: {error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, stories(Some(&stage)));
    drop(stage);
    conclusion.exit_code()
}

macro_rules! stories {
    ($stage:expr, $($module:ident { $($story:ident)* })*) => {
        vec![$($(story(concat!(stringify!($module), "::", stringify!($story)), $stage, $module::$story),)*)*]
    };
}

fn stories(stage: Option<&Arc<Stage>>) -> Vec<Trial> {
    stories!(stage,
        lifecycle {
            inserted_rows_become_a_tool_that_answers
            a_tool_stops_and_starts_by_desired_state
            a_tool_stops_and_starts_by_the_seeds_status
            a_version_change_replaces_the_container
            a_removed_tool_leaves_nothing
            another_size_keeps_the_droplet_and_brings_the_tools_back
        }
        deletion {
            a_disabled_environment_is_destroyed_and_comes_back
            the_seeds_pending_deletion_is_taken_as_a_request
            a_deleted_row_takes_its_droplet_along
            a_deleted_user_takes_the_droplet_along
        }
        drift {
            a_killed_container_comes_back
            a_droplet_destroyed_behind_our_back_is_replaced
        }
        explanation {
            a_plan_does_nothing_and_then_comes_true
        }
        crash {
            ten_sigkills_while_five_environments_are_created
            database_restarts_while_five_environments_are_created
            without_notifications_resync_converges
        }
        bad_input {
            an_unknown_field_in_a_manifest
            a_tool_that_is_not_in_the_catalog
            a_region_that_does_not_exist
            a_wrong_token
            a_port_in_use
            no_docker
            no_postgres
        }
    )
}

/// Runs a story on a world of its own. A story that fails shows the end of its control plane's log.
fn story<F, Fut>(name: &str, stage: Option<&Arc<Stage>>, story: F) -> Trial
where
    F: FnOnce(World) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let stage = stage.cloned();
    Trial::test(name, move || {
        let stage = stage.expect("stories run on a stage");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let world = runtime
            .block_on(World::new(&stage))
            .map_err(|error| Failed::from(error.to_string()))?;
        let log = world.log();
        let played = runtime.block_on(AssertUnwindSafe(story(world)).catch_unwind());
        played.map_err(|panic| Failed::from(format!("{}\n{}", text(panic), workbench::children::log_tail(&log, 40))))
    })
}

fn text(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&str>()
            .map_or_else(|_| "panicked".to_owned(), |text| (*text).to_owned()),
    }
}
