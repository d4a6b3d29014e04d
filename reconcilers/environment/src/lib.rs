//! The environment reconciler.

pub mod action;
pub mod decide;
pub mod fleet;
pub mod observe;
pub mod outbox;
pub mod policy;
pub mod status;
