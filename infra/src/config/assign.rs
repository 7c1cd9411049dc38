//! `--set key=value`: a flag for every setting that has none of its own.
//! It must never guess a key: whether one exists is judged when the settings are read.

use toml::{Table, Value};

use super::ConfigError;

/// Puts an assignment such as `periods.sweep=5s` into `flags`. A value is read as TOML (`true`, `5`, `["a"]`), and as a
/// text where it is none.
///
/// # Errors
/// There is no `=`, no key, or a section of the key has a value already.
pub fn assign(flags: &mut Table, assignment: &str) -> Result<(), ConfigError> {
    let wrong =
        |cause: &str| ConfigError::Unusable { cause: format!("`{assignment}` {cause}; write e.g. periods.sweep=5s") };
    let (key, text) = assignment.split_once('=').ok_or_else(|| wrong("is no assignment"))?;
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong("names no key"));
    }
    let last = parts.pop().ok_or_else(|| wrong("names no key"))?;
    let mut section = flags;
    for part in parts {
        let inner = section.entry(part).or_insert_with(|| Value::Table(Table::new()));
        section = inner.as_table_mut().ok_or_else(|| wrong("is inside of what has a value"))?;
    }
    section.insert(last.to_owned(), value(text.trim()));
    Ok(())
}

fn value(text: &str) -> Value {
    let read = format!("value = {text}").parse::<Table>().ok().filter(|table| table.len() == 1);
    // A TOML date is a text to every setting.
    let read = read.and_then(|mut table| table.remove("value")).filter(|value| !value.is_datetime());
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read() {
        let check = |assignments: &[&str], expect: &str| {
            let mut flags = Table::new();
            let read: Result<Vec<()>, _> = assignments.iter().map(|text| assign(&mut flags, text)).collect();
            match read {
                Ok(_) => assert_eq!(flags, expect.parse::<Table>().unwrap(), "{assignments:?}"),
                Err(error) => assert!(error.to_string().contains(expect), "{error} lacks {expect}"),
            }
        };
        check(&["http=127.0.0.1:0"], "http = '127.0.0.1:0'");
        check(&["periods.sweep=500ms", "periods.reap=1s"], "periods = { sweep = '500ms', reap = '1s' }");
        check(
            &["names.shards.calls = 2", "egress.allow_http=false"],
            "names.shards.calls = 2\negress.allow_http = false",
        );
        check(&["egress.allow_cidrs=[\"10.0.0.0/8\"]"], "egress.allow_cidrs = ['10.0.0.0/8']");
        check(&["telemetry.level=info,sip=debug"], "telemetry.level = 'info,sip=debug'");
        check(&["fleet.server_id=2026-01-01"], "fleet.server_id = '2026-01-01'");
        check(&["data=a\nb = 1"], "data = \"a\\nb = 1\"");
        check(&["llm.api_key="], "llm.api_key = ''");
        check(&["http"], "`http` is no assignment");
        check(&["=x"], "names no key");
        check(&["a..b=x"], "names no key");
        check(&["http=x", "http.y=z"], "is inside of what has a value");
    }
}
