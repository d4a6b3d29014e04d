//! Agent to control plane.

use super::{builder, json};
use crate::{
    Bootstrap, EnrolRequest, EnrolResponse, Error, HeartbeatAnswer, HeartbeatRequest, Token,
    wire::backend_path::{ENROL, HEARTBEAT, desired_set},
};
use model::{DesiredSet, EnvironmentId};
use reqwest::{Client, Method, RequestBuilder};

/// A client of the control plane. Cheap to clone. It holds no token: those change with each enrolment.
#[derive(Clone, Debug)]
pub struct BackendClient {
    client: Client,
    base: String,
}

impl BackendClient {
    /// A client of the control plane that the bootstrap configuration names.
    pub fn new(bootstrap: &Bootstrap) -> Result<Self, Error> {
        bootstrap.check()?;
        let client = builder(&bootstrap.backend_ca_pem)?
            .build()
            .map_err(Error::tls("the control plane's client"))?;
        Ok(Self {
            client,
            base: bootstrap.backend_url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Enrols, for the first time or again with the same key.
    pub async fn enrol(&self, request: &EnrolRequest) -> Result<EnrolResponse, Error> {
        json("enrolment", self.request(Method::POST, ENROL).json(request)).await
    }

    /// Sends a heartbeat.
    pub async fn heartbeat(&self, agent_token: &Token, request: &HeartbeatRequest) -> Result<HeartbeatAnswer, Error> {
        let builder = self.request(Method::POST, HEARTBEAT).bearer_auth(agent_token.expose());
        json("heartbeat", builder.json(request)).await
    }

    /// The desired set as the control plane has it.
    pub async fn desired_set(&self, agent_token: &Token, environment: EnvironmentId) -> Result<DesiredSet, Error> {
        let builder = self
            .request(Method::GET, &desired_set(environment))
            .bearer_auth(agent_token.expose());
        json("GET desired set", builder).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }
}
