//! What the control plane and the agent on a droplet (the DTMA) say to each other, and how they trust each other.
//!
//! Owns: the wire types, both clients, the tokens, Toolplane's certificate authority and the rules of enrolment. Must not:
//! serve HTTP, know rows or containers, or keep a secret anywhere but in memory. Promises: every token and the authority's
//! key follow from one master key, so that any number of replicas agree without storing them; no `Debug` shows a secret.
//!
//! ```text
//!  control plane                                   droplet
//!  MasterKey --enrolment_token--> Bootstrap ------> AgentKey (made there, never leaves)
//!      |                          (user data)          |  EnrolRequest: token, CSR, fresh proof
//!      +--enrolment::verify <--------------------------+
//!      +--enrolment::admit ---------------------------> EnrolResponse: certificate, tokens (memory only)
//!  BackendClient's server  <--- heartbeat, desired set  (agent_token)
//!  AgentClient ---------------> desired set, tools      (control_token)
//! ```
//!
//! Whoever uses TLS here has installed a process-wide rustls provider before; `main` of each binary does.

pub mod agent_key;
pub mod authority;
pub mod bootstrap;
pub mod client;
pub mod enrolment;
pub mod error;
pub mod master_key;
pub mod proof;
pub mod tls;
pub mod token;
pub mod wire;

pub use agent_key::AgentKey;
pub use authority::{CertificateAuthority, ServerCertificate, agent_server_name};
pub use bootstrap::Bootstrap;
pub use client::{AgentClient, Agents, BackendClient, PutOutcome};
pub use enrolment::{Applicant, Refusal};
pub use error::Error;
pub use master_key::MasterKey;
pub use token::Token;
pub use wire::{
    EnrolRequest, EnrolResponse, Health, HeartbeatAnswer, HeartbeatReport, HeartbeatRequest, LivenessAnswer, Problem, ToolList,
};

/// The port of the agent's HTTPS API on every droplet.
pub const AGENT_PORT: u16 = 30_000;

/// The public ports that a droplet's tools can have. An instance keeps its port.
pub const TOOL_PORTS: std::ops::RangeInclusive<u16> = 31_000..=31_999;
