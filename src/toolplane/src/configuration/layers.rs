//! Layering: for each setting the value of the highest layer that has it, and where that is.

use super::{
    error::Error,
    table::{self, SETTINGS, Setting},
    variables,
};
use config::{FileFormat, Source, Value};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    str::FromStr,
};

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    text: String,
    origin: String,
}

/// The merged layers.
#[derive(Debug, Default)]
pub(crate) struct Layers(BTreeMap<String, Found>);

impl Layers {
    /// Reads and merges: `file` lowest, then `environment`, then `flags`.
    pub(crate) fn merge(
        flags: &BTreeMap<String, String>,
        environment: HashMap<String, String>,
        file: Option<&Path>,
    ) -> Result<Self, Error> {
        let mut merged = Self::default();
        if let Some(path) = file {
            merged.put(read_file(path)?)?;
        }
        merged.put(read_environment(environment)?)?;
        let flags = flags.iter().map(|(key, text)| {
            let origin = table::flag(key);
            (
                key.clone(),
                Found {
                    text: text.clone(),
                    origin,
                },
            )
        });
        merged.put(flags.collect())?;
        Ok(merged)
    }

    /// A secret that a layer has in either form hides both forms of the layers below.
    fn put(&mut self, layer: BTreeMap<String, Found>) -> Result<(), Error> {
        for setting in SETTINGS.iter().filter(|setting| setting.secret) {
            let file_key = table::file_key(setting.name);
            match (layer.get(setting.name), layer.get(&file_key)) {
                (Some(direct), Some(file)) => {
                    return Err(Error::Both {
                        name: setting.name,
                        origin: direct.origin.clone(),
                        file_origin: file.origin.clone(),
                    });
                }
                (None, None) => {}
                (Some(_), None) | (None, Some(_)) => {
                    self.0.remove(setting.name);
                    self.0.remove(&file_key);
                }
            }
        }
        self.0.extend(layer);
        Ok(())
    }

    /// A setting that is not secret, parsed; its default when nobody set it; `None` when it has none.
    pub(crate) fn parse<T: FromStr<Err: ToString>>(&self, name: &'static str, right: &str) -> Result<Option<T>, Error> {
        self.with(name, right, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// As [`Self::parse`], with a function that says what is wrong.
    pub(crate) fn with<T>(
        &self,
        name: &'static str,
        right: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let default = table::find(name).and_then(|setting| setting.default);
        let (text, origin) = match (self.0.get(name), default) {
            (Some(found), _) => (found.text.as_str(), found.origin.as_str()),
            (None, Some(default)) => (default, "default"),
            (None, None) => return Ok(None),
        };
        parse(text).map(Some).map_err(|wrong| Error::Invalid {
            name,
            wrong: format!("{text:?}: {wrong}"),
            right: right.to_owned(),
            origin: origin.to_owned(),
        })
    }

    /// A secret, from wherever it is, checked by a function whose complaints must not repeat it.
    pub(crate) fn secret(
        &self,
        setting: &'static Setting,
        right: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Result<Option<SecretString>, Error> {
        let name = setting.name;
        let (text, origin) = match (self.0.get(name), self.0.get(&table::file_key(name))) {
            (Some(direct), _) => (direct.text.clone(), direct.origin.clone()),
            (None, Some(file)) => {
                let path = PathBuf::from(&file.text);
                let text = std::fs::read_to_string(&path).map_err(|source| Error::SecretFile {
                    name,
                    path,
                    origin: file.origin.clone(),
                    source,
                })?;
                (
                    text.trim_end_matches(['\r', '\n']).to_owned(),
                    format!("the file that {} names", file.origin),
                )
            }
            (None, None) => return Ok(None),
        };
        let checked = if text.is_empty() {
            Err("empty".to_owned())
        } else {
            check(&text)
        };
        checked.map_err(|wrong| Error::Invalid {
            name,
            wrong,
            right: right.to_owned(),
            origin,
        })?;
        Ok(Some(text.into()))
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, Found>, Error> {
    let unreadable = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let file = config::File::from(path).format(FileFormat::Toml).required(true);
    let mut layer = BTreeMap::new();
    for (key, value) in file.collect().map_err(unreadable)? {
        if table::find(&key).is_none() {
            return Err(Error::unknown(&key, path.to_owned()));
        }
        let origin = format!("`{key}` in {}", path.display());
        let text = text_of(value).map_err(unreadable)?;
        layer.insert(key, Found { text, origin });
    }
    Ok(layer)
}

/// A variable with our prefix that is none of ours is a mistake, but for those that Kubernetes makes for a service of this name.
fn read_environment(environment: HashMap<String, String>) -> Result<BTreeMap<String, Found>, Error> {
    let set = environment.iter().filter(|(_, value)| !value.is_empty());
    // Of several always the same one.
    if let Some(variable) = set.map(|(name, _)| name).filter(|name| !variables::is_known(name)).min() {
        return Err(Error::unknown_variable(variable));
    }
    let source = config::Environment::with_prefix("TOOLPLANE")
        .ignore_empty(true)
        .source(Some(environment));
    let values = source.collect().unwrap_or_default();
    let known = values.into_iter().filter(|(key, _)| table::find(key).is_some());
    let layer = known.filter_map(|(key, value)| {
        let found = Found {
            text: text_of(value).ok()?,
            origin: table::variable(&key),
        };
        Some((key, found))
    });
    Ok(layer.collect())
}

/// A list reads as its elements with commas between, as a flag or variable would have it.
fn text_of(value: Value) -> Result<String, config::ConfigError> {
    match value.clone().into_array() {
        Ok(elements) => {
            let elements: Result<Vec<String>, _> = elements.into_iter().map(Value::into_string).collect();
            Ok(elements?.join(","))
        }
        Err(_) => value.into_string(),
    }
}
