//! Lists: 200 a page, and whole or not at all.
//!
//! Owns: the checks that tell a whole list from a part of one. A list that grew while its pages were read is whole as of its
//! first page: what is pushed onto a later page comes twice, and nothing is passed over. One that shrank looks the same as a
//! truncated one; it is read again, and an error when it does not add up then either.

use crate::{
    client::{Client, Request},
    error::{Call, Error},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::HashSet, hash::Hash};
use url::Url;

/// The most that the API takes.
const PER_PAGE: &str = "200";

/// An element of a list, and where lists carry it.
pub(crate) trait Listed: DeserializeOwned {
    /// The key of the array in the answer: `droplets`.
    const KEY: &'static str;
    /// What no two elements of a list share.
    type Id: Hash + Eq;

    fn id(&self) -> Self::Id;
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    links: Option<Links>,
    meta: Meta,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Meta {
    total: usize,
}

#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    pages: Option<Pages>,
}

#[derive(Deserialize)]
struct Pages {
    #[serde(default)]
    next: Option<String>,
}

impl Client {
    /// Every element of a list.
    pub(crate) async fn list<T: Listed>(&self, request: impl Fn() -> Request) -> Result<Vec<T>, Error> {
        self.again(
            || self.list_once::<T>(&request),
            |error| matches!(error, Error::Incomplete { .. }),
        )
        .await
    }

    async fn list_once<T: Listed>(&self, request: &impl Fn() -> Request) -> Result<Vec<T>, Error> {
        let mut all: Vec<T> = Vec::new();
        let mut totals: Option<(usize, usize)> = None;
        let mut number = 0_usize;
        loop {
            number += 1;
            let request = request().query("per_page", PER_PAGE).query("page", number.to_string());
            // A list that came to a stop half-way was read for nothing.
            let request = request.urgent(number > 1);
            let call = request.call;
            let page: Page = self.fetch(request).await?;
            let total = page.meta.total;
            let incomplete = |message: String| Error::Incomplete { call, message };
            let (first, last) = *totals.get_or_insert((total, total));
            if total < last {
                return Err(incomplete(format!("its total fell to {total} on page {number}")));
            }
            totals = Some((first, total));
            let next = page.next(call)?;
            let elements: Vec<T> = page.elements(call)?;
            if elements.is_empty() && next.is_some() {
                return Err(incomplete(format!("page {number} is empty and names a next one")));
            }
            all.extend(elements);
            match next {
                Some(next) if next != number + 1 => {
                    return Err(incomplete(format!("page {number} names {next} as the next one")));
                }
                Some(_) => {}
                None => {
                    if total > first {
                        once_each(&mut all);
                        whole_as_of(call, &all, first)?;
                    } else {
                        whole(call, &all, total)?;
                    }
                    return Ok(all);
                }
            }
        }
    }
}

impl Page {
    /// The number of the next page. Only the number is used: the token is not sent wherever a link points.
    fn next(&self, call: Call) -> Result<Option<usize>, Error> {
        let Some(next) = self
            .links
            .as_ref()
            .and_then(|links| links.pages.as_ref())
            .and_then(|pages| pages.next.as_ref())
        else {
            return Ok(None);
        };
        let page = Url::parse(next)
            .ok()
            .and_then(|url| url.query_pairs().find(|(name, _)| name == "page")?.1.parse().ok());
        match page {
            Some(page) => Ok(Some(page)),
            None => Err(Error::Incomplete {
                call,
                message: format!("the link to the next page has no page number: {next}"),
            }),
        }
    }

    fn elements<T: Listed>(mut self, call: Call) -> Result<Vec<T>, Error> {
        let value = self.rest.remove(T::KEY).unwrap_or_default();
        serde_json::from_value(value).map_err(|error| Error::Decode {
            call,
            message: format!("{}: {error}", T::KEY),
        })
    }
}

/// Drops what came once more, on a later page.
fn once_each<T: Listed>(all: &mut Vec<T>) {
    let mut seen = HashSet::new();
    all.retain(|element| seen.insert(element.id()));
}

/// Checks that a list that grew has at least as many elements as its first page said.
fn whole_as_of<T>(call: Call, all: &[T], first: usize) -> Result<(), Error> {
    if all.len() < first {
        let message = format!("{} of {first} came, while it grew", all.len());
        return Err(Error::Incomplete { call, message });
    }
    Ok(())
}

/// Checks that a list has as many elements as it said, and none twice.
fn whole<T: Listed>(call: Call, all: &[T], total: usize) -> Result<(), Error> {
    let incomplete = |message: String| Err(Error::Incomplete { call, message });
    if all.len() != total {
        return incomplete(format!("{} of {total} came", all.len()));
    }
    let distinct: HashSet<T::Id> = all.iter().map(T::id).collect();
    if distinct.len() != total {
        return incomplete(format!("{} came twice", total - distinct.len()));
    }
    Ok(())
}
