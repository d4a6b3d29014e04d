//! What is held, as far as this process can tell without asking. No I/O.

use super::Renewed;
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Kept by a pass for as long as it acts on a shard. See [`LeaseKeeper::hold`](super::LeaseKeeper::hold).
#[derive(Debug)]
pub struct ShardHold {
    /// Counted by the tenure that it is of.
    acting: Option<Arc<()>>,
    ended: Weak<Notify>,
}

impl Drop for ShardHold {
    fn drop(&mut self) {
        drop(self.acting.take());
        if let Some(ended) = self.ended.upgrade() {
            ended.notify_one();
        }
    }
}

/// One shard, under one epoch.
#[derive(Debug)]
struct Tenure {
    epoch: i64,
    /// One reference for itself, and one for each pass that acts.
    acting: Arc<()>,
    /// Since when it is too much.
    draining: Option<Instant>,
}

/// Every shard that is held.
#[derive(Debug, Default)]
pub(super) struct Tenures {
    shards: BTreeMap<u16, Tenure>,
    /// What passes still act on under a tenure that is over. Whatever they do next rests on what was read under it, so nothing of
    /// these is worked on, and no pass gets a fence, before the last of them has ended.
    left: BTreeMap<u16, Weak<()>>,
    /// Counted from before the request that renewed, so never later than by the database's clock.
    until: Option<Instant>,
}

impl Tenures {
    /// When all of it expires, if nothing is heard from the database.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    fn valid(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// A shard that is held, unless passes of an earlier tenure still act on it.
    fn begun(&self, shard: u16) -> Option<&Tenure> {
        let begun = self.valid() && !self.left.contains_key(&shard);
        self.shards.get(&shard).filter(|_| begun)
    }

    /// The epoch of a shard's lease, while that holds.
    pub(super) fn epoch(&self, shard: u16) -> Option<i64> {
        Some(self.begun(shard)?.epoch)
    }

    /// Leave to act on a shard.
    pub(super) fn hold(&self, shard: u16, ended: &Arc<Notify>) -> Option<ShardHold> {
        let tenure = self.begun(shard).filter(|tenure| tenure.draining.is_none())?;
        Some(ShardHold {
            acting: Some(Arc::clone(&tenure.acting)),
            ended: Arc::downgrade(ended),
        })
    }

    /// The shards to work on, with epochs.
    pub(super) fn worked_on(&self) -> Vec<(u16, i64)> {
        let mine = self.shards.iter().filter(|(_, tenure)| tenure.draining.is_none());
        let begun = mine.filter(|(shard, _)| !self.left.contains_key(shard));
        begun.map(|(shard, tenure)| (*shard, tenure.epoch)).collect()
    }

    /// Whether something is too much, or was left.
    pub(super) fn awaits_passes(&self) -> bool {
        !self.left.is_empty() || self.shards.values().any(|tenure| tenure.draining.is_some())
    }

    /// Nothing is held any more.
    pub(super) fn clear(&mut self) {
        for (shard, tenure) in std::mem::take(&mut self.shards) {
            self.leave(shard, &tenure);
        }
        self.until = None;
    }

    /// A tenure is over.
    fn leave(&mut self, shard: u16, tenure: &Tenure) {
        if Arc::strong_count(&tenure.acting) > 1 {
            self.left.insert(shard, Arc::downgrade(&tenure.acting));
        }
    }

    /// Forgets what was left, where the last pass has ended.
    pub(super) fn settle(&mut self) {
        self.left.retain(|_, acting| acting.strong_count() > 0);
    }

    /// Takes over what the database said. The last of too many shards are drained, so that the first one, which has duties
    /// besides, moves seldom.
    pub(super) fn renewed(&mut self, renewed: &Renewed, until: Instant) {
        let mut before = std::mem::take(&mut self.shards);
        for (place, (shard, epoch)) in renewed.epochs.iter().enumerate() {
            let fresh = || Tenure {
                epoch: *epoch,
                acting: Arc::default(),
                draining: None,
            };
            let mut tenure = match before.remove(shard) {
                Some(same) if same.epoch == *epoch => same,
                Some(over) => {
                    self.leave(*shard, &over);
                    fresh()
                }
                None => fresh(),
            };
            tenure.draining = if place < renewed.share {
                None
            } else {
                tenure.draining.or_else(|| Some(Instant::now()))
            };
            self.shards.insert(*shard, tenure);
        }
        for (shard, over) in before {
            self.leave(shard, &over);
        }
        self.settle();
        self.until = Some(until);
    }

    /// The shards that are too much, and on which no pass acts; or on which one does for longer than there is patience: its writes
    /// will be refused.
    pub(super) fn idle(&self, now: Instant, patience: Duration) -> Vec<u16> {
        let idle = self.shards.iter().filter(|(_, tenure)| match tenure.draining {
            Some(since) => Arc::strong_count(&tenure.acting) == 1 || now.duration_since(since) >= patience,
            None => false,
        });
        idle.map(|(shard, _)| *shard).collect()
    }

    /// These were given back.
    pub(super) fn released(&mut self, shards: &[u16]) {
        for shard in shards {
            if let Some(over) = self.shards.remove(shard) {
                self.leave(*shard, &over);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    fn renewed(shards: &[u16], epoch: i64, share: usize) -> Renewed {
        Renewed {
            epochs: shards.iter().map(|shard| (*shard, epoch)).collect(),
            share,
            replicas: 1,
            next_gone: None,
            now: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn held(shards: &[u16]) -> Tenures {
        let mut tenures = Tenures::default();
        tenures.renewed(&renewed(shards, 1, shards.len()), Instant::now() + TTL);
        tenures
    }

    fn shards(tenures: &Tenures) -> Vec<u16> {
        tenures.worked_on().into_iter().map(|(shard, _)| shard).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_given_up_when_no_pass_acts_on_it() {
        let (mut tenures, ended) = (held(&[1, 2, 3, 4]), Arc::default());
        let acts = tenures.hold(4, &ended).unwrap();
        tenures.renewed(&renewed(&[1, 2, 3, 4], 1, 2), Instant::now() + TTL);
        assert_eq!(shards(&tenures), [1, 2]);
        assert!(tenures.hold(3, &ended).is_none(), "no new pass begins");
        assert_eq!(tenures.epoch(4), Some(1), "the one that acts can still write");
        assert_eq!(tenures.idle(Instant::now(), TTL), [3]);
        tenures.released(&[3]);
        drop(acts);
        ended.notified().await;
        assert_eq!(tenures.idle(Instant::now(), TTL), [4]);
        tenures.released(&[4]);
        assert_eq!((tenures.epoch(4), tenures.awaits_passes()), (None, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_does_not_end_is_not_waited_for_longer_than_a_lease() {
        let (mut tenures, ended) = (held(&[1, 2]), Arc::default());
        let _acts = tenures.hold(2, &ended);
        tenures.renewed(&renewed(&[1, 2], 1, 1), Instant::now() + TTL);
        tokio::time::advance(TTL / 2).await;
        tenures.renewed(&renewed(&[1, 2], 1, 1), Instant::now() + TTL);
        assert!(tenures.idle(Instant::now(), TTL).is_empty());
        tokio::time::advance(TTL / 2).await;
        assert_eq!(tenures.idle(Instant::now(), TTL), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_that_grows_again_takes_back_what_was_not_given_up_yet() {
        let mut tenures = held(&[1, 2]);
        tenures.renewed(&renewed(&[1, 2], 1, 1), Instant::now() + TTL);
        tenures.renewed(&renewed(&[1, 2], 1, 2), Instant::now() + TTL);
        assert_eq!((shards(&tenures), tenures.awaits_passes()), (vec![1, 2], false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_of_an_earlier_epoch_does_not_hold_up_the_next() {
        let (mut tenures, ended) = (held(&[1, 2]), Arc::default());
        let _acts = tenures.hold(2, &ended);
        tenures.renewed(&renewed(&[1, 2], 2, 1), Instant::now() + TTL);
        assert_eq!(tenures.idle(Instant::now(), TTL), [2]);
    }

    /// It may have read its record before others acted on it, and must not get the fence of the moment for what follows from that.
    #[tokio::test(start_paused = true)]
    async fn a_shard_that_was_won_again_begins_once_the_passes_of_before_have_ended() {
        let (mut tenures, ended) = (held(&[1, 2]), Arc::default());
        let expired: fn(&mut Tenures) = Tenures::clear;
        let elsewhere: fn(&mut Tenures) = |tenures| tenures.renewed(&renewed(&[1], 1, 1), Instant::now() + TTL);
        let unheard: fn(&mut Tenures) = |_| {};
        for (epoch, over) in (2..).zip([expired, elsewhere, unheard]) {
            let acts = tenures.hold(2, &ended).unwrap();
            over(&mut tenures);
            tenures.renewed(&renewed(&[1, 2], epoch, 2), Instant::now() + TTL);
            assert_eq!((shards(&tenures), tenures.awaits_passes()), (vec![1], true));
            assert_eq!((tenures.epoch(1), tenures.epoch(2)), (Some(epoch), None));
            assert!(tenures.hold(2, &ended).is_none());
            drop(acts);
            ended.notified().await;
            tenures.settle();
            assert_eq!((shards(&tenures), tenures.epoch(2)), (vec![1, 2], Some(epoch)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_held_once_it_has_expired() {
        let (tenures, ended) = (held(&[1]), Arc::default());
        tokio::time::advance(TTL).await;
        assert_eq!(tenures.epoch(1), None);
        assert!(tenures.hold(1, &ended).is_none());
    }
}
