//! Pagination, as DigitalOcean does it: `page`, `per_page`, absolute links, `meta.total`.

use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

/// Which part of a list is wanted, and under which URL it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Paging {
    url: Url,
    page: usize,
    per_page: usize,
}

const DEFAULT: usize = 20;
const MOST: usize = 200;

impl Paging {
    /// Reads the query. What is no number counts as absent; what is out of range is brought into it.
    pub(crate) fn new(url: Url) -> Self {
        let number = |wanted: &str| {
            let found = url.query_pairs().find(|(name, _)| name == wanted);
            found.and_then(|(_, value)| value.parse::<usize>().ok())
        };
        let page = number("page").unwrap_or(1).max(1);
        let per_page = number("per_page").unwrap_or(DEFAULT).clamp(1, MOST);
        Self { url, page, per_page }
    }

    /// The value of another parameter of the query.
    pub(crate) fn parameter(&self, wanted: &str) -> Option<String> {
        let mut found = self.url.query_pairs().filter(|(name, _)| name == wanted);
        found.next().map(|(_, value)| value.into_owned())
    }

    /// The URL of another path at the same address.
    pub(crate) fn sibling(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        url
    }

    /// The answer: only the wanted part is rendered.
    pub(crate) fn answer<T, V: Serialize>(&self, key: &str, all: impl IntoIterator<Item = T>, render: impl Fn(T) -> V) -> Value {
        let first = (self.page - 1).saturating_mul(self.per_page);
        let (mut shown, mut total) = (Vec::new(), 0);
        for element in all {
            if total >= first && shown.len() < self.per_page {
                shown.push(render(element));
            }
            total += 1;
        }
        json!({key: shown, "links": self.links(total), "meta": {"total": total}})
    }

    fn links(&self, total: usize) -> Value {
        let last = total.div_ceil(self.per_page).max(1);
        let mut pages = Map::new();
        if self.page > 1 {
            pages.insert("first".to_owned(), self.link(1));
            pages.insert("prev".to_owned(), self.link((self.page - 1).min(last)));
        }
        if self.page < last {
            pages.insert("next".to_owned(), self.link(self.page + 1));
            pages.insert("last".to_owned(), self.link(last));
        }
        if pages.is_empty() {
            json!({})
        } else {
            json!({"pages": pages})
        }
    }

    fn link(&self, page: usize) -> Value {
        let mut url = self.url.clone();
        let kept: Vec<(String, String)> = self
            .url
            .query_pairs()
            .filter(|(name, _)| name != "page")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.query_pairs_mut()
            .clear()
            .extend_pairs(kept)
            .append_pair("page", &page.to_string());
        Value::String(url.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(query: &str, total: usize) -> Value {
        let url = format!("http://127.0.0.1:1/v2/droplets?{query}").parse().unwrap();
        Paging::new(url).answer("droplets", 0..total, |number| number)
    }

    #[test]
    fn a_single_page_has_no_links() {
        assert_eq!(
            answer("", 3),
            json!({"droplets": [0, 1, 2], "links": {}, "meta": {"total": 3}})
        );
        assert_eq!(answer("", 0), json!({"droplets": [], "links": {}, "meta": {"total": 0}}));
        assert_eq!(answer("", 20)["links"], json!({}));
    }

    #[test]
    fn links_are_absolute_and_keep_the_filter() {
        let second = answer("tag_name=a%3Ab&per_page=2&page=2", 5);
        assert_eq!(second["droplets"], json!([2, 3]));
        let link = |page: u32| format!("http://127.0.0.1:1/v2/droplets?tag_name=a%3Ab&per_page=2&page={page}");
        assert_eq!(
            second["links"]["pages"],
            json!({"first": link(1), "prev": link(1), "next": link(3), "last": link(3)})
        );
        let first = answer("per_page=2", 5);
        assert!(first["links"]["pages"].get("first").is_none(), "{first}");
        let last = answer("per_page=2&page=3", 5);
        assert_eq!(last["droplets"], json!([4]));
        assert!(last["links"]["pages"].get("next").is_none(), "{last}");
    }

    #[test]
    fn a_page_holds_at_most_200() {
        assert_eq!(answer("per_page=1000", 450)["droplets"].as_array().unwrap().len(), 200);
        assert_eq!(answer("per_page=x&page=-1", 450)["droplets"].as_array().unwrap().len(), 20);
    }
}
