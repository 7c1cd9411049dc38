//! Which environment variables a struct of settings reads: templates of deployments are held against that.
//! It must never ask the environment itself, and never list a variable that the struct's own reading would not look for.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};

/// The variables that [`load`](super::load) looks for when it fills a `T`, sorted.
pub fn variables<T: DeserializeOwned>(prefix: &str) -> Vec<String> {
    let mut seen = Seen::default();
    // Each round comes one place further, and ends there: what a value would have to look like is not known here.
    loop {
        let root = Place { seen: &mut seen, variable: prefix.to_owned(), is_root: true };
        if T::deserialize(root).is_ok() || seen.whole.contains(prefix) {
            return seen.leaves.into_iter().collect();
        }
    }
}

#[derive(Default)]
struct Seen {
    leaves: BTreeSet<String>,
    /// Leaves, and sections of which every place was seen.
    whole: BTreeSet<String>,
}

struct Place<'a> {
    seen: &'a mut Seen,
    variable: String,
    is_root: bool,
}

/// The end of a round.
#[derive(Debug)]
struct Further;

impl fmt::Display for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one place further")
    }
}

impl std::error::Error for Further {}

impl de::Error for Further {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Self
    }
}

impl Place<'_> {
    fn leaf<T>(self) -> Result<T, Further> {
        self.seen.leaves.insert(self.variable.clone());
        self.seen.whole.insert(self.variable);
        Err(Further)
    }
}

/// The one field of a section that this round goes into.
struct Next<'a> {
    field: Option<&'static str>,
    inside: Place<'a>,
}

impl<'de> MapAccess<'de> for Next<'_> {
    type Error = Further;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Further> {
        self.field.map(|field| seed.deserialize(field.into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Further> {
        let Place { seen, variable, .. } = &mut self.inside;
        seed.deserialize(Place { seen, variable: variable.clone(), is_root: false })
    }
}

macro_rules! leaves {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Further> {
            self.leaf()
        })*
    };
}

impl<'de> de::Deserializer<'de> for Place<'_> {
    type Error = Further;

    leaves! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Further> {
        let glue = if self.is_root { "" } else { "_" };
        let inner = |field: &str| format!("{}{glue}{}", self.variable, field.to_uppercase());
        match fields.iter().find(|field| !self.seen.whole.contains(&inner(field))) {
            Some(field) => {
                let inside = Place { variable: inner(field), seen: self.seen, is_root: false };
                visitor.visit_map(Next { field: Some(field), inside })
            }
            None => {
                self.seen.whole.insert(self.variable);
                Err(Further)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Further> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Further> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Further> {
        self.leaf()
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Further> {
        self.leaf()
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, _: V) -> Result<V::Value, Further> {
        self.leaf()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Further> {
        self.leaf()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::{LogFormat, Period};
    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its fields' names are of interest")]
    struct Whole {
        name: String,
        inner: Inner,
        #[serde(default)]
        other: Option<Inner>,
        #[serde(rename = "how")]
        format: LogFormat,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its fields' names are of interest")]
    struct Inner {
        wait: Period,
        list: Vec<Period>,
        table: BTreeMap<String, u32>,
        deep: Deep,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its fields' names are of interest")]
    struct Deep {
        port: u16,
    }

    #[test]
    fn every_place_is_found_and_no_section() {
        let inner = ["DEEP_PORT", "LIST", "TABLE", "WAIT"];
        let mut expect = vec!["R_HOW".to_owned(), "R_NAME".to_owned()];
        for section in ["INNER", "OTHER"] {
            expect.extend(inner.iter().map(|leaf| format!("R_{section}_{leaf}")));
        }
        expect.sort();
        assert_eq!(variables::<Whole>("R_"), expect);
        #[derive(Deserialize)]
        struct Nothing {}
        assert_eq!(variables::<Nothing>("R_"), Vec::<String>::new());
    }
}
