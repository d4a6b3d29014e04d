//! Requests are short.

use digitalocean::{Budget, BudgetConfig, Client};
use e2e::{Rehearsal, eventually, rehearsal::condition};
use jiff::Timestamp;
use serde_json::Value;
use simulator::{Fault, FaultRule};
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;

/// Requests a minute, and how long a minute is.
const A_MINUTE: u32 = 100;
const MINUTE: Duration = Duration::from_secs(3);
/// Requests an hour, and how long an hour is: who reads all it can has none left for most of it.
const AN_HOUR: u32 = 100;
const HOUR: Duration = Duration::from_secs(10);
/// More than the hour keeps back for creates.
const ENVIRONMENTS: usize = 8;

/// The limits as small as they can be, at both ends; sweeps are not to need all of them.
fn shorten(rehearsal: &mut Rehearsal) {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    rehearsal.simulator.configure(|settings| {
        (settings.requests_per_minute, settings.minute_ms) = (A_MINUTE, milliseconds(MINUTE));
        (settings.requests_per_hour, settings.hour_ms) = (AN_HOUR, milliseconds(HOUR));
    });
    rehearsal.config.digitalocean.budget = Budget::new(BudgetConfig {
        per_minute: NonZeroU32::new(A_MINUTE).unwrap(),
        per_hour: NonZeroU32::new(AN_HOUR).unwrap(),
        minute: MINUTE,
        hour: HOUR,
        margin: MINUTE / 60,
        patience: MINUTE / 6,
    });
    rehearsal.config.fleet_sweep = Duration::from_secs(2);
}

/// Somebody reads as much as the replica's budget gives; counts what it does not.
fn read_all_the_time(client: &Client, shed: &Arc<AtomicU64>) -> Vec<AbortOnDropHandle<()>> {
    let readers = (0..AN_HOUR).map(|_| {
        let (client, shed) = (client.clone(), Arc::clone(shed));
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                if let Err(digitalocean::Error::RateLimited { .. }) = client.account_get().await {
                    shed.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(MINUTE / 40).await;
                }
            }
        }))
    });
    readers.collect()
}

/// While others read all that the limit gives, deletes and creates go on. When requests are there again, nothing is left of it.
pub(crate) async fn deletes_and_creates_go_on_while_others_read_all_they_can(mut rehearsal: Rehearsal) {
    shorten(&mut rehearsal);
    rehearsal.start().await;
    let first = rehearsal.rows.insert_environment().await;
    rehearsal.until_ready(&first).await;
    let doomed = rehearsal.droplet(&first).await;

    // 1. Reads are all that is heard, and then everybody wants something.
    let budget = rehearsal.config.digitalocean.budget.clone();
    let client = Client::new(rehearsal.config.digitalocean.clone()).unwrap();
    let shed = Arc::new(AtomicU64::new(0));
    let readers = read_all_the_time(&client, &shed);
    eventually("reads to be shed", || async {
        if shed.load(Ordering::SeqCst) > 0 {
            Ok(())
        } else {
            Err(budget.status())
        }
    })
    .await;
    let mut environments = Vec::new();
    for _ in 0..ENVIRONMENTS {
        environments.push(rehearsal.rows.insert_environment().await);
    }
    let disable = format!("update account_tool_environments set desired_state = 'deleted' where id = '{first}'");
    rehearsal.rows.sql.must(&disable).await;

    // 2. What goes first is done while reads wait.
    let before = shed.load(Ordering::SeqCst);
    until_droplets_are(&rehearsal, doomed, environments.len()).await;
    assert!(shed.load(Ordering::SeqCst) > before, "others' reads were shed meanwhile");

    // 3. There are requests again.
    drop(readers);
    all_is_well(&rehearsal, &environments).await;
    rehearsal.rows.until_environment(&first, "deleted").await;
}

/// DigitalOcean says that the hour is spent: a row that waits says until when, and so do the commands. Nothing is sent meanwhile.
pub(crate) async fn while_the_hour_is_spent_rows_say_until_when(mut rehearsal: Rehearsal) {
    rehearsal.start().await;
    let first = rehearsal.rows.insert_environment().await;
    rehearsal.until_ready(&first).await;
    let spent = Fault::HourSpent { reset_after: 600 };
    rehearsal.simulator.fault(FaultRule::next("GET", "/v2/droplets", spent));
    eventually("the hour to be spent", || async {
        let budget = rehearsal.config.digitalocean.budget.status();
        if budget.blocked_until.is_some() { Ok(()) } else { Err(budget) }
    })
    .await;
    let since = rehearsal.simulator.journal_next();
    let waits = [rehearsal.rows.insert_environment().await];
    let said = eventually("the commands to tell of a wait", || told(&rehearsal, &waits)).await;
    assert!(said.promised > said.since, "{} is no time to come", said.promised);
    let listed = rehearsal.rows.sql.must("select count(*) from provisioning_intents").await;
    assert_eq!(listed, "1", "nothing is announced that could not be sent");
    assert_eq!(rehearsal.simulator.changes(since), []);
}

/// Waits until one droplet is gone, and there are so many others.
async fn until_droplets_are(rehearsal: &Rehearsal, doomed: u64, others: usize) {
    eventually("the delete and the creates", || async {
        let droplets = rehearsal.simulator.droplets();
        let gone = droplets.iter().all(|droplet| droplet.id != doomed);
        let done = gone && droplets.len() == others;
        if done { Ok(()) } else { Err(droplets.len()) }
    })
    .await;
}

/// Every environment has its droplet and waits for nothing, and DigitalOcean never had to refuse a request.
async fn all_is_well(rehearsal: &Rehearsal, environments: &[String]) {
    for environment in environments {
        rehearsal.until_ready(environment).await;
        let clear = |row: &Value| condition(row, "BudgetAvailable")["status"] != "False";
        rehearsal.rows.until_environment_is(environment, "not waiting", clear).await;
    }
    assert_eq!(rehearsal.simulator.droplets().len(), environments.len());
    let limits = rehearsal.simulator.counts().limits;
    assert_eq!((limits.by_minute, limits.by_hour), (0, 0), "no 429 was provoked");
}

/// What `BudgetAvailable` says.
struct Said {
    since: Timestamp,
    promised: Timestamp,
}

/// What `get` and `describe` say of an environment that waits.
async fn told(rehearsal: &Rehearsal, environments: &[String]) -> Result<Said, String> {
    const PROMISE: &str = "it goes on at ";
    let (listed, _) = rehearsal.toolplane(&["get", "environments", "-o", "wide"]).await;
    let waits = |environment: &&String| {
        listed
            .lines()
            .any(|line| line.contains(environment.as_str()) && line.contains(PROMISE))
    };
    let Some(environment) = environments.iter().find(waits) else {
        return Err(listed);
    };
    let waiting = async || condition(&rehearsal.rows.environment(environment).await, "BudgetAvailable");
    let before = waiting().await;
    let (described, _) = rehearsal.toolplane(&["describe", "environment", environment]).await;
    if waiting().await != before {
        return Err(described);
    }
    let since = &before["lastTransitionTime"];
    let line = |title: &str| described.lines().find(|line| line.trim_start().starts_with(title));
    let waits_for = line("Waits for:").filter(|line| line.ends_with("(BudgetAvailable)"));
    let promised = waits_for.and_then(|line| Some(line.split_once(PROMISE)?.1.split_once(' ')?.0));
    let (Some(promised), Some(goes_on), Some(since)) = (promised, line("Goes on:"), since.as_str()) else {
        return Err(described);
    };
    assert!(goes_on.contains(promised), "{described}");
    Ok(Said {
        since: since.parse().unwrap(),
        promised: promised.parse().unwrap(),
    })
}

/// Replicas used up the minute: a plan says so, and does not promise what would have to wait.
pub(crate) async fn a_plan_says_what_waits_for_requests(rehearsal: Rehearsal) {
    let environment = rehearsal.rows.insert_environment().await;
    let plan = async || rehearsal.toolplane_json(&["plan", &environment]).await;
    let announces = |plan: &Value| plan["items"].to_string().contains("AnnounceIntent");
    let before = plan().await;
    assert!(announces(&before), "{before}");
    assert_eq!(before["withheld"], serde_json::json!([]));

    let taken = "insert into request_grants (replica, requests, settled, returns_at, minute_until, hour_until) values \
         (gen_random_uuid(), 250, true, now(), now() + interval '10 minutes', now() + interval '1 hour')";
    rehearsal.rows.sql.must(taken).await;
    let short = plan().await;
    assert!(!announces(&short), "{short}");
    let withheld = short["withheld"][0].as_str().unwrap_or_default();
    assert!(withheld.contains("deletes and creates and changes wait until"), "{short}");
    assert!(short["waits"].to_string().contains("it goes on at "), "{short}");
    let (text, code) = rehearsal.toolplane(&["plan", &environment, "--detailed-exitcode"]).await;
    assert!(text.starts_with("withheld\n") && text.contains("waits for: "), "{text}");
    assert_eq!(code, Some(0), "{text}");
    let grants = rehearsal.rows.sql.must("select count(*) from request_grants").await;
    assert_eq!(grants, "1", "nothing was taken");
}
