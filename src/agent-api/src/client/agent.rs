//! Control plane to agent.

use super::{builder, json, send};
use crate::{
    CertificateAuthority, Error, Health, Token, ToolList, agent_server_name,
    wire::agent_path::{DESIRED_SET, HEALTH, TOOLS, tool_status},
};
use model::{DesiredSet, EnvironmentId, InstanceId, InstanceReport, Stamp};
use reqwest::{Client, Method, RequestBuilder};
use std::net::SocketAddr;

/// A client of one droplet's agent. Cheap to clone; keep it, for its connections.
#[derive(Clone, Debug)]
pub struct AgentClient {
    client: Client,
    base: String,
    token: Token,
}

/// What an agent did with a desired set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It holds it now (or did already).
    Accepted,
    /// It holds a newer one; the sender is behind.
    Older {
        /// The stamp of what it holds.
        held: Stamp,
    },
}

impl AgentClient {
    /// A client that connects to `address` and takes nobody there for the agent of `environment` who cannot prove to be it.
    pub fn new(
        authority: &CertificateAuthority,
        environment: EnvironmentId,
        address: SocketAddr,
        control_token: Token,
    ) -> Result<Self, Error> {
        let name = agent_server_name(environment);
        let client = builder(authority.certificate_pem())?
            .resolve(&name, address)
            .build()
            .map_err(Error::tls("the agent's client"))?;
        Ok(Self {
            client,
            base: format!("https://{name}:{}", address.port()),
            token: control_token,
        })
    }

    /// Sends the complete desired set.
    pub async fn put_desired_set(&self, set: &DesiredSet) -> Result<PutOutcome, Error> {
        match send("PUT desired set", self.request(Method::PUT, DESIRED_SET).json(set)).await {
            Ok(_) => Ok(PutOutcome::Accepted),
            Err(Error::OlderSet { held }) => Ok(PutOutcome::Older { held }),
            Err(error) => Err(error),
        }
    }

    /// The desired set that the agent holds, or `None` when it was never given one.
    pub async fn desired_set(&self) -> Result<Option<DesiredSet>, Error> {
        found(json("GET desired set", self.request(Method::GET, DESIRED_SET)).await)
    }

    /// How the agent is.
    pub async fn health(&self) -> Result<Health, Error> {
        json("GET health", self.request(Method::GET, HEALTH)).await
    }

    /// Every instance on the droplet.
    pub async fn tools(&self) -> Result<ToolList, Error> {
        json("GET tools", self.request(Method::GET, TOOLS)).await
    }

    /// One instance, or `None` when the agent does not know it.
    pub async fn tool_status(&self, instance: InstanceId) -> Result<Option<InstanceReport>, Error> {
        found(json("GET tool status", self.request(Method::GET, &tool_status(instance))).await)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(self.token.expose())
    }
}

/// Reads "not found" as an answer.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}
