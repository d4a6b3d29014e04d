//! The vocabulary of Toolplane: ids, specifications, statuses, conditions, events and the desired set of a droplet.
//!
//! Owns: the meaning of the rows in Postgres and of what an agent is told. Must not: do I/O, read a clock, know SQL,
//! DigitalOcean or Docker. Promises: every type round-trips through serde, and every enum is spelled exactly as its
//! Postgres enum is.

pub mod agent;
pub mod catalog;
pub mod cause;
pub mod condition;
pub mod container;
pub mod desired;
pub mod environment;
pub mod event;
pub mod ids;
pub mod instance;
pub mod intent;
pub mod record;
pub mod tags;
pub mod word;

pub use agent::{AgentReport, DropletVitals, InstanceReport, InstanceState};
pub use catalog::CatalogEntry;
pub use cause::{Cause, Explain, Explanation};
pub use condition::{Condition, ConditionStatus, Conditions};
pub use container::ContainerSpec;
pub use desired::{DesiredInstance, DesiredSet, Stamp};
pub use environment::{Environment, EnvironmentDesiredState, EnvironmentPhase, EnvironmentSpec, EnvironmentStatus, Tombstone};
pub use event::{Event, EventType};
pub use ids::{CatalogId, DropletId, EnvironmentId, InstallationId, InstanceId, IntentId, UserId};
pub use instance::{Instance, InstanceDesiredState, InstancePhase, InstanceSpec, InstanceStatus};
pub use intent::{Intent, IntentKind, IntentOutcome};
pub use record::{EnvironmentRecord, ReceivedReport, RecordedFirewall, Subject, Tools};
pub use word::Word;
