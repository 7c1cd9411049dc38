//! The layers of settings as one serde input: the struct being filled says which fields it has, and only those are looked
//! for. So an environment variable needs no second naming scheme, and a key that no field has is found with its path.
//! It must never let a lower layer win over a higher one, field by field.

use std::fmt;
use std::rc::Rc;

use domain::near::nearest;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use toml::Value;

use super::ConfigError;

const FLAGS: &str = "the command line";

pub(super) fn read<T: DeserializeOwned>(
    file: toml::Table,
    file_name: String,
    prefix: &str,
    environment: Vec<(String, String)>,
    flags: toml::Table,
) -> Result<T, ConfigError> {
    // An empty variable is how shells unset one.
    let environment =
        environment.into_iter().filter(|(name, value)| name.starts_with(prefix) && !value.is_empty()).collect();
    let sources = Rc::new(Sources { file_name, environment });
    let node = Node {
        sources,
        path: Vec::new(),
        variable: prefix.to_owned(),
        flag: Some(Value::Table(flags)),
        file: Some(Value::Table(file)),
    };
    T::deserialize(node).map_err(|error| error.0)
}

struct Sources {
    file_name: String,
    environment: Vec<(String, String)>,
}

impl Sources {
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An error on its way up; serde asks for a type that can be made of any text.
#[derive(Debug)]
struct Failure(ConfigError);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self(ConfigError::Unusable { cause: message.to_string() })
    }
}

/// One place in the tree of settings, and what each layer has for it.
struct Node {
    sources: Rc<Sources>,
    path: Vec<String>,
    /// The environment variable of this place; the root's is the prefix.
    variable: String,
    flag: Option<Value>,
    file: Option<Value>,
}

/// The winning value of a place, and where it came from.
struct Found {
    value: Value,
    place: String,
    from_variable: bool,
}

impl Node {
    fn child(&self, field: &str, flag: Option<Value>, file: Option<Value>) -> Self {
        let mut path = self.path.clone();
        path.push(field.to_owned());
        let glue = if self.path.is_empty() { "" } else { "_" };
        let variable = format!("{}{glue}{}", self.variable, field.to_uppercase());
        Self { sources: Rc::clone(&self.sources), path, variable, flag, file }
    }

    fn key(&self) -> String {
        self.path.join(".")
    }

    fn file_place(&self) -> String {
        self.sources.file_name.clone()
    }

    fn found(&self) -> Option<Found> {
        if let Some(value) = self.flag.clone() {
            return Some(Found { value, place: FLAGS.to_owned(), from_variable: false });
        }
        if let Some(text) = self.sources.variable(&self.variable) {
            return Some(Found {
                value: Value::String(text.to_owned()),
                place: self.variable.clone(),
                from_variable: true,
            });
        }
        let value = self.file.clone()?;
        Some(Found { value, place: self.file_place(), from_variable: false })
    }

    fn bad(&self, place: &str, cause: impl fmt::Display) -> Failure {
        Failure(ConfigError::BadValue { key: self.key(), place: place.to_owned(), cause: one_line(&cause.to_string()) })
    }

    /// The two tables of this place, or which layer has something else here.
    fn tables(&self) -> Result<(toml::Table, toml::Table), Failure> {
        let table = |value: &Option<Value>, place: &str| match value {
            None => Ok(toml::Table::new()),
            Some(Value::Table(table)) => Ok(table.clone()),
            Some(other) => Err(self.bad(place, format!("a section is wanted here, not {}", kind(other)))),
        };
        Ok((table(&self.flag, FLAGS)?, table(&self.file, &self.sources.file_name)?))
    }

    /// Whether the environment has something inside `child`, which `fields` of the same struct don't claim for themselves.
    fn variable_inside(&self, child: &Node, field: &str, fields: &[&str]) -> bool {
        let inside = format!("{}_", child.variable);
        let glue = if self.path.is_empty() { "" } else { "_" };
        let longer: Vec<String> = fields
            .iter()
            .filter(|other| other.starts_with(field) && other.len() > field.len())
            .map(|other| format!("{}{glue}{}", self.variable, other.to_uppercase()))
            .collect();
        self.sources
            .environment
            .iter()
            .any(|(name, _)| name.starts_with(&inside) && !longer.iter().any(|other| name.starts_with(other)))
    }

    fn refuse_unknown(&self, table: &toml::Table, place: &str, fields: &'static [&'static str]) -> Result<(), Failure> {
        let Some(unknown) = table.keys().find(|key| !fields.contains(&key.as_str())) else {
            return Ok(());
        };
        let full =
            |field: &str| if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.key()) };
        let nearest = nearest(unknown, fields.iter().copied()).map(full);
        Err(Failure(ConfigError::UnknownKey { key: full(unknown), place: place.to_owned(), nearest }))
    }

    fn structure<'de, V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        let (mut flags, mut file) = self.tables()?;
        self.refuse_unknown(&flags, FLAGS, fields)?;
        self.refuse_unknown(&file, &self.sources.file_name, fields)?;
        let mut present = Vec::new();
        for field in fields {
            let child = self.child(field, flags.remove(*field), file.remove(*field));
            let named =
                child.flag.is_some() || child.file.is_some() || self.sources.variable(&child.variable).is_some();
            if named || self.variable_inside(&child, field, fields) {
                present.push((*field, child));
            }
        }
        visitor.visit_map(Fields { rest: present.into_iter(), next: None })
    }

    /// Hands the winning value on as it is; a variable's text is read as `wanted` says.
    fn leaf<'de, V: Visitor<'de>>(self, visitor: V, wanted: Wanted) -> Result<V::Value, Failure> {
        let Some(found) = self.found() else {
            return Err(self.bad("the environment", "a section has no value of its own"));
        };
        let value = if found.from_variable {
            wanted.read(&found.value).map_err(|cause| self.bad(&found.place, cause))?
        } else {
            found.value
        };
        plain(value, visitor).map_err(|cause| self.bad(&found.place, cause))
    }
}

/// What a variable's text stands for.
#[derive(Clone, Copy)]
enum Wanted {
    Text,
    Switch,
    Whole,
    Decimal,
    List,
    Table,
}

impl Wanted {
    fn read(self, value: &Value) -> Result<Value, String> {
        let Value::String(text) = value else {
            return Ok(value.clone());
        };
        let text = text.trim();
        let toml = || format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
        match self {
            Self::Text => Ok(value.clone()),
            Self::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(Value::Boolean(true)),
                "false" | "0" | "no" | "off" => Ok(Value::Boolean(false)),
                _ => Err(format!("`{text}` is neither true nor false")),
            },
            Self::Whole => text.parse().map(Value::Integer).map_err(|_| format!("`{text}` is no whole number")),
            Self::Decimal => text.parse().map(Value::Float).map_err(|_| format!("`{text}` is no number")),
            Self::List => Ok(toml().filter(Value::is_array).unwrap_or_else(|| {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
            })),
            Self::Table => {
                toml().filter(Value::is_table).ok_or_else(|| format!("`{text}` is no TOML table such as {{ a = 1 }}"))
            }
        }
    }
}

/// Feeds a TOML value to a visitor; inside arrays and maps there are no layers any more.
fn plain<'de, V: Visitor<'de>>(value: Value, visitor: V) -> Result<V::Value, Plain> {
    match value {
        Value::String(text) => visitor.visit_string(text),
        Value::Integer(number) => visitor.visit_i64(number),
        Value::Float(number) => visitor.visit_f64(number),
        Value::Boolean(on) => visitor.visit_bool(on),
        Value::Datetime(at) => visitor.visit_string(at.to_string()),
        Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(PlainValue))),
        Value::Table(table) => {
            visitor.visit_map(MapDeserializer::new(table.into_iter().map(|(key, value)| (key, PlainValue(value)))))
        }
    }
}

type Plain = de::value::Error;

struct PlainValue(Value);

impl IntoDeserializer<'_, Plain> for PlainValue {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> de::Deserializer<'de> for PlainValue {
    type Error = Plain;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Plain> {
        plain(self.0, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Plain> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Plain> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Plain> {
        word(self.0, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Settings have enums of plain words only.
fn word<'de, V: Visitor<'de>>(value: Value, visitor: V) -> Result<V::Value, Plain> {
    match value {
        Value::String(word) => visitor.visit_enum(word.into_deserializer()),
        other => Err(de::Error::custom(format!("a word is wanted here, not {}", kind(&other)))),
    }
}

struct Fields {
    rest: std::vec::IntoIter<(&'static str, Node)>,
    next: Option<Node>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some((field, node)) = self.rest.next() else {
            return Ok(None);
        };
        self.next = Some(node);
        seed.deserialize(field.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        let node = self.next.take().ok_or_else(|| <Failure as de::Error>::custom("a value without a key"))?;
        let (key, place) = (node.key(), node.found().map_or_else(|| node.file_place(), |found| found.place));
        // Types that read a text themselves don't know where it stood.
        seed.deserialize(node).map_err(|failure| match failure.0 {
            ConfigError::Unusable { cause } => Failure(ConfigError::BadValue { key, place, cause: one_line(&cause) }),
            known => Failure(known),
        })
    }
}

macro_rules! leaves {
    ($($wanted:ident: $($method:ident)*;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.leaf(visitor, Wanted::$wanted)
        })*)*
    };
}

impl<'de> de::Deserializer<'de> for Node {
    type Error = Failure;

    leaves! {
        Text: deserialize_any deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier;
        Switch: deserialize_bool;
        Whole: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64;
        Decimal: deserialize_f32 deserialize_f64;
        List: deserialize_seq;
        Table: deserialize_map;
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.structure(fields, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Some(found) = self.found() else {
            return Err(self.bad("the environment", "a section has no value of its own"));
        };
        word(found.value, visitor).map_err(|cause| self.bad(&found.place, cause))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.leaf(visitor, Wanted::List)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.leaf(visitor, Wanted::List)
    }

    serde::forward_to_deserialize_any! { unit unit_struct ignored_any }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
