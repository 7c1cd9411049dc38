//! The sample file explains every setting, and says its true default.

use std::collections::BTreeSet;
use std::io::Write;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, IntoDeserializer, Visitor};
use toml::Value;

use super::*;

const SAMPLE: &str = include_str!("../../../../ringfleet.sample.toml");

fn read(file: &str, environment: &[(&str, &str)], flags: &str) -> Result<Settings, String> {
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(file.as_bytes()).unwrap();
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    Settings::load_from(Some(config.path()), environment, flags.parse().unwrap()).map_err(|error| error.to_string())
}

#[test]
fn the_sample_holds_the_defaults() {
    assert_eq!(format!("{:#?}", read(SAMPLE, &[], "").unwrap()), format!("{:#?}", Settings::defaults()));
}

#[test]
fn the_sample_names_every_key_and_no_other() {
    let whole: toml::Table = uncommented().parse().unwrap();
    let seen = std::cell::RefCell::new(BTreeSet::new());
    let walk = Walk { value: Value::Table(whole), path: String::new(), seen: &seen };
    Settings::deserialize(walk).unwrap();
    assert!(seen.borrow().len() > 50, "{seen:?}");
}

#[test]
fn the_sample_tells_every_variable() {
    let mut section = String::new();
    let mut told = BTreeSet::new();
    for line in SAMPLE.lines() {
        told.extend(line.split_whitespace().filter(|word| word.starts_with(PREFIX)).map(str::to_owned));
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}_", name.trim_end_matches(']').replace('.', "_"));
        } else if let Some(key) = key_of(line) {
            let variable = format!("{PREFIX}{section}{key}").to_uppercase();
            assert!(told.contains(&variable), "`{key}` comes before a line that tells {variable}");
        }
    }
}

#[test]
fn layers_come_in_their_order() {
    let check = |file: &str, environment: &[(&str, &str)], flags: &str, expect: u16| {
        assert_eq!(read(file, environment, flags).unwrap().http.port(), expect, "{file} {environment:?} {flags}");
    };
    let (file, variable, flag) = ("http = '127.0.0.1:1'", [("RINGFLEET_HTTP", "127.0.0.1:2")], "http = '127.0.0.1:3'");
    check("", &[], "", 8080);
    check(file, &[], "", 1);
    check(file, &variable, "", 2);
    check(file, &variable, flag, 3);
}

#[test]
fn sections_that_are_told_in_part_keep_the_platform_s_defaults() {
    let settings = read("[egress]\nallow_http = false\n[fleet]\nsip = '127.0.0.1:5070'", &[], "").unwrap();
    assert_eq!(settings.egress.allow_cidrs.len(), 2);
    assert_eq!((settings.fleet.http.port(), settings.fleet.server_id.as_str()), (0, "local"));
    let settings = read("", &[("RINGFLEET_FLEET_MODE", "external"), ("RINGFLEET_FLEET_MAX_CALLS", "7")], "").unwrap();
    assert_eq!(
        (settings.fleet_mode, settings.fleet.max_calls, settings.fleet.http.port()),
        (FleetMode::External, 7, 0)
    );
}

#[test]
fn what_aws_tools_read_is_read_too() {
    let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let settings = read("", &keys, "").unwrap();
    assert_eq!(settings.aws.access_key_id.as_deref(), Some("id"));
    // With services from outside the SDK looks itself, session token and all.
    let outside = read("", &[keys[0], keys[1], ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")], "").unwrap();
    assert_eq!((outside.aws.endpoint.as_deref(), outside.aws.access_key_id), (Some("http://127.0.0.1:4566"), None));
    let own =
        read("aws.endpoint = 'http://own'", &[("AWS_ENDPOINT_URL", "http://other"), ("AWS_REGION", "r")], "").unwrap();
    assert_eq!((own.aws.endpoint.as_deref(), own.aws.region.as_deref()), (Some("http://own"), Some("r")));
}

#[test]
fn mistakes_name_the_key() {
    let check = |file: &str, environment: &[(&str, &str)], flags: &str, part: &str| {
        let said = read(file, environment, flags).unwrap_err();
        assert!(said.contains(part) && !said.contains('\n'), "{said} lacks {part}");
    };
    check("htpp = 'x'", &[], "", "unknown key `htpp`");
    check("[fleet]\nmax_call = 1", &[], "", "did you mean `fleet.max_calls`?");
    check("", &[], "periods = { swep = '5s' }", "unknown key `periods.swep` in the command line");
    check("", &[("RINGFLEET_FLEET_SIP", "here")], "", "RINGFLEET_FLEET_SIP");
    check("fleet_mode = 'both'", &[], "", "`fleet_mode`");
}

#[test]
fn a_platform_aside_takes_nothing_that_is_fixed() {
    let settings = read("", &[("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")], "public_url = 'http://x'").unwrap();
    let aside = settings.aside(Path::new("/tmp/aside"));
    let ports = [aside.http, aside.aws_listen, aside.fleet.sip, aside.fleet.http, aside.fleet.ws];
    assert_eq!(ports.map(|address| address.port()), [0; 5]);
    assert_eq!((aside.aws.endpoint, aside.public_url, aside.data), (None, None, PathBuf::from("/tmp/aside")));
}

/// The sample with the keys that have no default switched on.
fn uncommented() -> String {
    let lines = SAMPLE.lines().map(|line| if key_of(line).is_some() { line.trim_start_matches("# ") } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// The key that a line sets, also where it is switched off.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
    let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    is_key.then_some(key)
}

/// Reads a value as TOML does, and holds every struct's fields against the table it is read from.
struct Walk<'a> {
    value: Value,
    path: String,
    seen: &'a std::cell::RefCell<BTreeSet<String>>,
}

type WalkError = de::value::Error;

impl<'de> IntoDeserializer<'de, WalkError> for Walk<'_> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> de::Deserializer<'de> for Walk<'_> {
    type Error = WalkError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WalkError> {
        let Self { value, path, seen } = self;
        let inner = |value| Walk { value, path: path.clone(), seen };
        match value {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Boolean(on) => visitor.visit_bool(on),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(inner))),
            other => panic!("{path}: settings have no {other:?}"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WalkError> {
        let Value::Table(table) = self.value else { panic!("{}: a section is wanted", self.path) };
        let found: BTreeSet<&str> = table.keys().map(String::as_str).collect();
        assert_eq!(found, fields.iter().copied().collect(), "the keys of [{}]", self.path);
        let inner = table.clone().into_iter().map(|(key, value)| {
            let path = format!("{}.{key}", self.path);
            self.seen.borrow_mut().insert(path.clone());
            (key, Walk { value, path, seen: self.seen })
        });
        visitor.visit_map(MapDeserializer::new(inner))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WalkError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, WalkError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WalkError> {
        let Value::String(word) = self.value else { panic!("{}: a word is wanted", self.path) };
        visitor.visit_enum(word.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}
