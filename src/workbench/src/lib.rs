//! The bench that the demo and the end-to-end tests work on: a container engine, an image registry, packed tools, and processes
//! that never outlive whoever started them.
//!
//! Owns: how these are found, started, waited for and ended. Must not: know anything of Toolplane's rows, or touch a container,
//! network or image of an engine that it did not start, but for the images that it packed. Promises: whatever it started ends
//! with the process that started it, also by SIGKILL, and what a killed run left in a folder is no obstacle to the next.

pub mod children;
pub mod engine;
pub mod error;
pub mod images;
pub mod janitor;
pub mod mcp;
pub mod registry;

pub use children::Child;
pub use engine::Engine;
pub use error::Error;
pub use janitor::Janitor;
pub use registry::Registry;
