//! What DigitalOcean does to us, and what people do behind our back: stories over a real Postgres, the simulator, a replica in this
//! process and model agents, in which time is short. `toolplane`'s commands run beside them as users run them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod behind_our_back;
mod budget;
mod doubt;
mod explanations;
mod launches;
mod orphans;
mod refusals;
mod wishes;

use e2e::Rehearsal;
use libtest_mimic::{Arguments, Failed, Trial};
use std::{future::Future, process::ExitCode};

/// Stories that run at once: most of each is waiting.
const AT_ONCE: usize = 6;

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
    libtest_mimic::run(&arguments, stories()).exit_code()
}

macro_rules! stories {
    ($($module:ident { $($story:ident)* })*) => {
        vec![$($(story(concat!(stringify!($module), "::", stringify!($story)), $module::$story),)*)*]
    };
}

fn stories() -> Vec<Trial> {
    stories!(
        budget {
            deletes_and_creates_go_on_while_others_read_all_they_can
            while_the_hour_is_spent_rows_say_until_when
            a_plan_says_what_waits_for_requests
        }
        orphans {
            a_plan_tells_of_orphans_and_then_they_go
            so_many_orphans_are_rather_the_wrong_database
        }
        doubt {
            an_empty_list_stops_what_would_follow_from_it
        }
        behind_our_back {
            what_is_changed_is_put_back
            a_paused_environment_is_left_as_it_is
            what_somebody_resized_gets_its_size_again
            a_silent_agent_costs_nothing
        }
        launches {
            a_launch_that_takes_too_long_destroys_nothing_and_heals_by_itself
            a_droplet_whose_agent_can_never_enrol_is_replaced
        }
        explanations {
            every_effect_has_an_event_with_its_cause
        }
        refusals {
            a_refused_base_firewall_is_told_and_heals
            a_value_that_is_refused_is_named_and_heals_with_the_row
            a_full_account_heals_by_itself
        }
        wishes {
            another_size_keeps_the_droplet_and_brings_the_tools_back
        }
    )
}

/// Runs a story on an installation of its own.
fn story<F, Fut>(name: &str, story: F) -> Trial
where
    F: FnOnce(Rehearsal) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let rehearsal = Rehearsal::new().await.map_err(|error| Failed::from(error.to_string()))?;
            story(rehearsal).await;
            Ok(())
        })
    })
}
