//! Waiting for what must become true.

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

/// How long anything may take on a busy machine before a story gives up. It bounds a hang; nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Looks again and again until `look` gives `Ok`, and returns that.
///
/// # Panics
/// After [`PATIENCE`], with the last thing that was seen instead.
pub async fn eventually<T, E: Debug, F: Future<Output = Result<T, E>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let begin = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(instead) if begin.elapsed() > PATIENCE => panic!("waited {PATIENCE:?} for {what}; instead there is: {instead:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(150)).await,
        }
    }
}
