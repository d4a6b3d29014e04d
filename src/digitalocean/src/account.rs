//! `/v2/account`.

use crate::{
    client::{Client, Request},
    error::Error,
    wire::nullable,
};
use serde::{Deserialize, Serialize};

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It may.
    Active,
    /// It may, for now; see the message.
    Warning,
    /// It may not.
    Locked,
    /// A word that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The account that the token belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub uuid: String,
    /// Its owner's address.
    #[serde(default, deserialize_with = "nullable")]
    pub email: String,
    /// How many droplets it may have at once.
    pub droplet_limit: u32,
    /// Whether it may be used.
    #[serde(default)]
    pub status: AccountStatus,
    /// Why not, for people.
    #[serde(default, deserialize_with = "nullable")]
    pub status_message: String,
}

impl Client {
    /// `GET /v2/account`: the cheapest proof that the token works.
    pub async fn account_get(&self) -> Result<Account, Error> {
        #[derive(Deserialize)]
        struct Answer {
            account: Account,
        }
        let answer: Answer = self.fetch(Request::get("account_get", "/v2/account", "/v2/account")).await?;
        Ok(answer.account)
    }
}
