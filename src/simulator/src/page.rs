//! Pagination, as DigitalOcean does it: `page`, `per_page`, absolute links, `meta.total`.

use crate::fault::PageFlaw;
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

/// Which part of a list is wanted, and under which URL it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Paging {
    url: Url,
    page: usize,
    per_page: usize,
    /// What a fault makes of it.
    flaw: Option<PageFlaw>,
}

const DEFAULT: usize = 20;
const MOST: usize = 200;

impl Paging {
    /// Reads the query. What is no number counts as absent; what is out of range is brought into it.
    pub(crate) fn new(url: Url, flaw: Option<PageFlaw>) -> Self {
        let number = |wanted: &str| {
            let found = url.query_pairs().find(|(name, _)| name == wanted);
            found.and_then(|(_, value)| value.parse::<usize>().ok())
        };
        let page = number("page").unwrap_or(1).max(1);
        let per_page = number("per_page").unwrap_or(DEFAULT).clamp(1, MOST);
        Self {
            url,
            page,
            per_page,
            flaw,
        }
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
        let all: Vec<T> = all.into_iter().collect();
        let total = match self.flaw {
            Some(PageFlaw::EmptyList) => 0,
            Some(PageFlaw::HalfTheList) => all.len() / 2,
            Some(PageFlaw::ElementsMissing | PageFlaw::NextMissing | PageFlaw::EmptyPage) | None => all.len(),
        };
        let first = (self.page - 1).saturating_mul(self.per_page).min(total);
        let there = (total - first).min(self.per_page);
        let shown = match self.flaw {
            Some(PageFlaw::EmptyPage) => 0,
            Some(PageFlaw::ElementsMissing) => there / 2,
            Some(PageFlaw::EmptyList | PageFlaw::HalfTheList | PageFlaw::NextMissing) | None => there,
        };
        let shown: Vec<V> = all.into_iter().skip(first).take(shown).map(render).collect();
        json!({key: shown, "links": self.links(total), "meta": {"total": total}})
    }

    fn links(&self, total: usize) -> Value {
        let last = total.div_ceil(self.per_page).max(1);
        let mut pages = Map::new();
        if self.page > 1 {
            pages.insert("first".to_owned(), self.link(1));
            pages.insert("prev".to_owned(), self.link((self.page - 1).min(last)));
        }
        if self.page < last && self.flaw != Some(PageFlaw::NextMissing) {
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
        Paging::new(url, None).answer("droplets", 0..total, |number| number)
    }

    fn flawed(flaw: PageFlaw, page: usize) -> Value {
        let url = format!("http://127.0.0.1:1/v2/droplets?per_page=4&page={page}")
            .parse()
            .unwrap();
        Paging::new(url, Some(flaw)).answer("droplets", 0..10, |number| number)
    }

    fn next(answer: &Value) -> bool {
        answer["links"]["pages"].get("next").is_some()
    }

    #[test]
    fn some_flaws_can_be_told_from_the_answer_and_some_cannot() {
        for (flaw, page, shown, has_next, total) in [
            (PageFlaw::ElementsMissing, 1, json!([0, 1]), true, 10),
            (PageFlaw::NextMissing, 1, json!([0, 1, 2, 3]), false, 10),
            (PageFlaw::HalfTheList, 1, json!([0, 1, 2, 3]), true, 5),
            (PageFlaw::HalfTheList, 2, json!([4]), false, 5),
            (PageFlaw::EmptyPage, 1, json!([]), true, 10),
            (PageFlaw::EmptyList, 1, json!([]), false, 0),
        ] {
            let answer = flawed(flaw, page);
            assert_eq!(
                (&answer["droplets"], next(&answer), &answer["meta"]["total"]),
                (&shown, has_next, &json!(total)),
                "{flaw:?}"
            );
        }
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
