//! More launches than there are requests for.

use crate::support::Story;
use digitalocean::BudgetConfig;
use std::{num::NonZeroU32, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn launches_that_wait_for_requests_say_so_and_spend_no_epoch() {
    let mut story = Story::begin().await;
    // Sweeps and looks take their part of so few.
    story.budget = BudgetConfig {
        per_minute: NonZeroU32::new(20).unwrap(),
        minute: Duration::from_secs(10),
        margin: Duration::ZERO,
        patience: Duration::from_millis(100),
        ..BudgetConfig::default()
    };
    story.serve().await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(story.insert("nyc3").await);
    }
    for id in &ids {
        let row = story.until(*id, "created", |row| row.status.droplet_id.is_some()).await;
        assert_eq!(row.status.agent_epoch, 1, "announced once");
    }
    assert_eq!(story.live().len(), ids.len());
    let mut waited = 0;
    for id in ids {
        let row = story.row(id).await;
        waited += usize::from(row.status.conditions.get("BudgetAvailable").is_some());
    }
    assert!(waited > 0, "nobody had to wait");
    story.end().await;
}
