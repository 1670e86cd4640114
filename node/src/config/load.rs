//! Puts the sources of configuration on top of each other.
use super::{
    ConfigError, NodeConfig,
    settings::{Flags, KEYS, Settings, environment_keys},
    validate::validate,
};
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Serialized, Toml},
    value::{Dict, Map, Value},
};
use std::path::PathBuf;

/// Where configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if any.
    pub file: Option<PathBuf>,
    /// Environment variables, by name; see [`Sources::environment_of_process`].
    pub environment: Vec<(String, String)>,
    /// Flags.
    pub flags: Flags,
}

impl Sources {
    /// Takes the `CORDUROY_` variables of this process.
    pub fn environment_of_process(mut self) -> Self {
        self.environment = std::env::vars().filter(|(name, _)| name.starts_with("CORDUROY_")).collect();
        self
    }
}

impl NodeConfig {
    /// Reads, merges and checks the configuration.
    ///
    /// # Errors
    /// One sentence that names the key, the value and where it came from.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Settings::default()));
        if let Some(path) = &sources.file {
            let text = read(path)?;
            let shown = path.display().to_string();
            refuse_unknown_keys(&text, &shown)?;
            figment = figment.merge(File { path: shown, text });
        }
        for (key, variable, value) in from_environment(&sources.environment) {
            figment = figment.merge(Variable { key, variable, value });
        }
        figment = figment.merge(FlagSource(Serialized::defaults(&sources.flags)));
        let settings: Settings = figment.extract().map_err(|error| wrong_kind(&figment, &error))?;
        validate(&settings, |key| origin(&figment, key))
    }
}

fn read(path: &PathBuf) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.display().to_string(), reason: error.to_string() })
}

/// (key, variable, value) of the variables that are set.
fn from_environment(environment: &[(String, String)]) -> Vec<(&'static str, String, String)> {
    environment_keys()
        .filter_map(|key| {
            let variable = format!("CORDUROY_{}", key.replace('.', "_").to_uppercase());
            let value = environment.iter().find(|(name, _)| *name == variable)?.1.clone();
            Some((key, variable, value))
        })
        .collect()
}

/// Refuses the first key that is not in [`KEYS`].
fn refuse_unknown_keys(text: &str, path: &str) -> Result<(), ConfigError> {
    let syntax = |error: figment::Error| ConfigError::Syntax { path: path.to_owned(), reason: first_line(&error) };
    let data = Toml::string(text).data().map_err(syntax)?;
    let mut found = Vec::new();
    for dict in data.values() {
        collect_keys("", dict, &mut found);
    }
    match found.into_iter().find(|key| !KEYS.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ConfigError::UnknownKey { suggestion: similar(&key), key, path: path.to_owned() }),
    }
}

/// The parser's words without its drawing of the line.
fn first_line(error: &figment::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match (lines.first(), lines.last()) {
        (Some(first), Some(last)) if first != last => format!("{first}: {last}"),
        (Some(first), _) => (*first).to_owned(),
        _ => text,
    }
}

/// The full names of all keys below `dict`. Of tables that hold known keys, what is inside; else their own name.
fn collect_keys(prefix: &str, dict: &Dict, found: &mut Vec<String>) {
    for (name, value) in dict {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let is_table = KEYS.iter().any(|known| known.starts_with(&format!("{key}.")));
        match value {
            Value::Dict(_, inner) if is_table => collect_keys(&key, inner, found),
            Value::Array(_, items) if is_table => {
                for item in items {
                    if let Value::Dict(_, inner) = item {
                        collect_keys(&key, inner, found);
                    }
                }
            }
            _ => found.push(key),
        }
    }
}

/// The known key with the fewest changes, if they are few.
fn similar(key: &str) -> Option<String> {
    let best = KEYS.iter().map(|known| (distance(key, known), *known)).min()?;
    (best.0 <= 3).then(|| best.1.to_owned())
}

/// Levenshtein's distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn wrong_kind(figment: &Figment, error: &figment::Error) -> ConfigError {
    let key = error.path.join(".");
    let value = figment.find_value(&key).ok().map_or_else(|| "?".to_owned(), |value| shown(&value));
    ConfigError::Value { origin: origin(figment, &key), key, value, problem: error.kind.to_string() }
}

/// A value as it would be written in TOML.
fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => number.to_i128().map_or_else(|| format!("{number:?}"), |n| n.to_string()),
        Value::Dict(..) => "{...}".to_owned(),
        Value::Array(..) => "[...]".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Where a key's value came from, for a person.
fn origin(figment: &Figment, key: &str) -> String {
    figment.find_metadata(key).map_or_else(|| "default".to_owned(), |metadata| metadata.name.to_string())
}

/// The text of a TOML file, remembered by its path.
struct File {
    path: String,
    text: String,
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("in {}", self.path))
    }
    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Toml::string(&self.text).data()
    }
}

/// One environment variable.
struct Variable {
    key: &'static str,
    variable: String,
    value: String,
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("from {}", self.variable))
    }
    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let value = match self.value.parse::<u64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(self.value.as_str()),
        };
        let (tables, key) = self.key.rsplit_once('.').map_or((None, self.key), |(tables, key)| (Some(tables), key));
        let tables = tables.into_iter().flat_map(|tables| tables.rsplit('.'));
        let inside = |dict: Dict, table: &str| Dict::from([(table.to_owned(), Value::from(dict))]);
        let dict = tables.fold(Dict::from([(key.to_owned(), value)]), inside);
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// The command line.
struct FlagSource<'a>(Serialized<&'a Flags>);

impl Provider for FlagSource<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("from the command line")
    }
    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        self.0.data()
    }
}
