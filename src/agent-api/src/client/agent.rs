//! Control plane to agent.

use super::{builder, json, send};
use crate::{
    AGENT_PORT, CertificateAuthority, Error, Health, MasterKey, Token, ToolList, agent_server_name,
    wire::agent_path::{DESIRED_SET, HEALTH, TOOLS, tool_status},
};
use effects::{Effect, Effects, System};
use model::{DesiredSet, EnvironmentId, InstanceId, InstanceReport, Stamp};
use reqwest::{Client, Method, RequestBuilder};
use std::net::{IpAddr, SocketAddr};

/// What the control plane reaches any agent with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Agents {
    master_key: MasterKey,
    authority: CertificateAuthority,
    effects: Effects,
}

impl Agents {
    /// `authority` is the master key's; `effects` is the way of every call to an agent.
    pub fn new(master_key: MasterKey, authority: CertificateAuthority, effects: Effects) -> Self {
        Self {
            master_key,
            authority,
            effects,
        }
    }

    /// The agent of an environment's droplet of this epoch.
    pub fn client(&self, environment: EnvironmentId, epoch: i64, address: IpAddr) -> Result<AgentClient, Error> {
        let token = self.master_key.control_token(environment, epoch);
        let address = SocketAddr::new(address, AGENT_PORT);
        AgentClient::new(&self.authority, environment, address, token, self.effects.clone())
    }
}

/// A client of one droplet's agent. Cheap to clone; keep it, for its connections.
#[derive(Clone, Debug)]
pub struct AgentClient {
    client: Client,
    base: String,
    token: Token,
    effects: Effects,
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
        effects: Effects,
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
            effects,
        })
    }

    /// Sends the complete desired set.
    pub async fn put_desired_set(&self, set: &DesiredSet) -> Result<PutOutcome, Error> {
        let putting = send("PUT desired set", self.request(Method::PUT, DESIRED_SET).json(set));
        match self
            .effects
            .run(Effect::write(System::Agent, "desired_set_put"), putting)
            .await
        {
            Ok(_) => Ok(PutOutcome::Accepted),
            Err(Error::OlderSet { held }) => Ok(PutOutcome::Older { held }),
            Err(error) => Err(error),
        }
    }

    /// The desired set that the agent holds, or `None` when it was never given one.
    pub async fn desired_set(&self) -> Result<Option<DesiredSet>, Error> {
        let asked = json("GET desired set", self.request(Method::GET, DESIRED_SET));
        found(self.read("desired_set_get", asked).await)
    }

    /// How the agent is.
    pub async fn health(&self) -> Result<Health, Error> {
        self.read("health_get", json("GET health", self.request(Method::GET, HEALTH)))
            .await
    }

    /// Every instance on the droplet.
    pub async fn tools(&self) -> Result<ToolList, Error> {
        self.read("tool_list", json("GET tools", self.request(Method::GET, TOOLS)))
            .await
    }

    /// One instance, or `None` when the agent does not know it.
    pub async fn tool_status(&self, instance: InstanceId) -> Result<Option<InstanceReport>, Error> {
        let asked = json("GET tool status", self.request(Method::GET, &tool_status(instance)));
        found(self.read("tool_status", asked).await)
    }

    async fn read<T>(&self, name: &'static str, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.effects.run(Effect::read(System::Agent, name), asked).await
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
