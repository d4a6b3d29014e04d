//! The stage for end-to-end stories: real Postgres, a real Docker engine and registry, the DigitalOcean simulator whose
//! droplets are real `dtma` processes, and `toolplane serve` as a process of its own.
//!
//! Owns: starting, waiting, looking. Must not: assert anything about the product; the stories do. Promises: what a story
//! starts ends with it, and every wait ends with a sentence that says what was waited for and what was there instead.

#![allow(clippy::missing_panics_doc)] // a stage that cannot be used ends the story, and says why

pub mod control_plane;
pub mod model_agent;
pub mod mute_proxy;
pub mod rehearsal;
pub mod rows;
pub mod sql;
pub mod wait;
pub mod world;

pub use control_plane::ControlPlane;
pub use rehearsal::Rehearsal;
pub use rows::Rows;
pub use wait::eventually;
pub use world::{Stage, World};

use std::path::PathBuf;

/// One of the workspace's own executables, from the folder that this process was built into.
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the running test has a path");
    let folder = this.ancestors().nth(2).expect("a test lies in <profile>/deps");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: build it with `cargo build --workspace`",
        path.display()
    );
    path
}
