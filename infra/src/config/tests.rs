//! Layers of settings, one over the other, and errors that name key and place.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Settings {
    http: String,
    http_port: u16,
    verbose: bool,
    ratio: f64,
    limit: Option<u32>,
    names: NamesConfig,
    egress: EgressConfig,
    periods: Periods,
    telemetry: TelemetryConfig,
    labels: BTreeMap<String, String>,
}

fn read(file: &str, environment: &[(&str, &str)], flags: &str) -> Result<Settings, ConfigError> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    layers::read(file.parse().unwrap(), "ringfleet.toml".into(), "RF_", environment, flags.parse().unwrap())
}

#[test]
fn without_anything_the_defaults_hold() {
    assert_eq!(read("", &[], "").unwrap(), Settings::default());
    assert_eq!(Periods::default().schedule(), domain::delivery::Schedule::default());
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let check = |file: &str, environment: &[(&str, &str)], flags: &str, expect: &str| {
        assert_eq!(read(file, environment, flags).unwrap().names.prefix, expect, "{file} {environment:?} {flags}");
    };
    let (file, variable, flag) = ("names.prefix = 'file-'", [("RF_NAMES_PREFIX", "env-")], "names.prefix = 'flag-'");
    check("", &[], "", "ringfleet-");
    check(file, &[], "", "file-");
    check(file, &variable, "", "env-");
    check("", &variable, "", "env-");
    check(file, &variable, flag, "flag-");
    check("", &[], flag, "flag-");
    check(file, &[("RF_NAMES_PREFIX", "")], "", "file-");
    check(file, &[("OTHER_NAMES_PREFIX", "x")], "", "file-");
}

#[test]
fn layers_mix_within_one_section() {
    let settings =
        read("[names]\nprefix = 'file-'\nshards.calls = 9", &[("RF_NAMES_SHARDS_SERVERS", "3")], "names.bucket = 'b'")
            .unwrap();
    assert_eq!(
        settings.names,
        NamesConfig {
            prefix: "file-".into(),
            bucket: Some("b".into()),
            shards: Shards { calls: 9, deliveries: 4, servers: 3 }
        }
    );
}

#[test]
fn variables_are_read_as_what_their_field_is() {
    let settings = read(
        "",
        &[
            ("RF_HTTP", "127.0.0.1:1"),
            ("RF_HTTP_PORT", "8080"),
            ("RF_VERBOSE", "yes"),
            ("RF_RATIO", "0.5"),
            ("RF_LIMIT", "7"),
            ("RF_EGRESS_ALLOW_CIDRS", "127.0.0.0/8, ::1/128"),
            ("RF_EGRESS_ALLOW_HTTP", "1"),
            ("RF_PERIODS_RETRY", "[\"1s\", \"2m\"]"),
            ("RF_TELEMETRY_FORMAT", "json"),
            ("RF_LABELS", "{ a = 'b' }"),
        ],
        "",
    )
    .unwrap();
    assert_eq!(
        (settings.http.as_str(), settings.http_port, settings.verbose, settings.ratio, settings.limit),
        ("127.0.0.1:1", 8080, true, 0.5, Some(7))
    );
    assert_eq!(
        settings.egress,
        EgressConfig {
            allow_cidrs: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            allow_http: true,
            ..EgressConfig::default()
        }
    );
    assert_eq!(settings.periods.retry, [Period::seconds(1), Period::seconds(120)]);
    assert_eq!(settings.telemetry.format, LogFormat::Json);
    assert_eq!(settings.labels["a"], "b");
}

#[test]
fn a_longer_field_keeps_its_variable() {
    let settings = read("", &[("RF_HTTP_PORT", "5")], "").unwrap();
    assert_eq!((settings.http.as_str(), settings.http_port), ("", 5));
}

#[test]
fn mistakes_are_one_line_that_names_key_and_place() {
    let check = |file: &str, environment: &[(&str, &str)], flags: &str, expect: &str| {
        let said = read(file, environment, flags).unwrap_err().to_string();
        assert_eq!(said, expect);
        assert!(!said.contains('\n'));
    };
    check("htp = 'x'", &[], "", "unknown key `htp` in ringfleet.toml: did you mean `http`?");
    check("[names]\nprefx = 'x'", &[], "", "unknown key `names.prefx` in ringfleet.toml: did you mean `names.prefix`?");
    check(
        "[names.shards]\ncall = 1",
        &[],
        "",
        "unknown key `names.shards.call` in ringfleet.toml: did you mean `names.shards.calls`?",
    );
    check(
        "colour = 1",
        &[],
        "",
        "unknown key `colour` in ringfleet.toml: remove it, or look for its name in the sample file",
    );
    check(
        "http_port = 70000",
        &[],
        "",
        "bad value for `http_port` from ringfleet.toml: invalid value: integer `70000`, expected u16",
    );
    check(
        "http_port = 'x'",
        &[],
        "",
        "bad value for `http_port` from ringfleet.toml: invalid type: string \"x\", expected u16",
    );
    check("names = 3", &[], "", "bad value for `names` from ringfleet.toml: a section is wanted here, not a number");
    check("", &[("RF_HTTP_PORT", "x")], "", "bad value for `http_port` from RF_HTTP_PORT: `x` is no whole number");
    check(
        "",
        &[("RF_VERBOSE", "maybe")],
        "",
        "bad value for `verbose` from RF_VERBOSE: `maybe` is neither true nor false",
    );
    check(
        "",
        &[],
        "periods.sweep = '5'",
        "bad value for `periods.sweep` from the command line: `5` is no length of time: write one such as 250ms, 5s, 1m30s or 2h",
    );
    check(
        "telemetry.format = 'xml'",
        &[],
        "",
        "bad value for `telemetry.format` from ringfleet.toml: unknown variant `xml`, expected one of `auto`, `text`, `json`",
    );
    check(
        "egress.allow_cidrs = ['10/8']",
        &[],
        "",
        "bad value for `egress.allow_cidrs` from ringfleet.toml: invalid IP address syntax",
    );
}

#[test]
fn a_binary_s_own_defaults_lie_under_its_file() {
    let defaults = "http = 'own'\n[names]\nprefix = 'own-'\nshards.calls = 2\n[egress]\nallow_http = true\nallow_cidrs = ['127.0.0.0/8']";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[names]\nshards.calls = 3\n[egress]\nallow_cidrs = []").unwrap();
    let read = |file: Option<&Path>| {
        load_over::<Settings>(defaults.parse().unwrap(), file, "RF_", Vec::new(), toml::Table::new()).unwrap()
    };
    let settings = read(None);
    assert_eq!(
        (settings.http.as_str(), settings.names.prefix.as_str(), settings.names.shards.calls),
        ("own", "own-", 2)
    );
    let settings = read(Some(file.path()));
    assert_eq!(
        (settings.http.as_str(), settings.names.prefix.as_str(), settings.names.shards.calls),
        ("own", "own-", 3)
    );
    assert_eq!((settings.egress.allow_http, settings.egress.allow_cidrs.len()), (true, 0));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let missing = load_from::<Settings>(Some(Path::new("/nonexistent/x.toml")), "RF_", Vec::new(), toml::Table::new())
        .unwrap_err();
    assert!(
        matches!(&missing, ConfigError::Unreadable { path, .. } if path == Path::new("/nonexistent/x.toml")),
        "{missing}"
    );

    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"http = 'a'\nsip = = 'b'\n").unwrap();
    let broken = load_from::<Settings>(Some(file.path()), "RF_", Vec::new(), toml::Table::new()).unwrap_err();
    assert!(broken.to_string().contains("line 2"), "{broken}");
}

#[test]
fn periods_read_and_print() {
    let check = |text: &str, ms: Option<u64>| assert_eq!(text.parse::<Period>().ok(), ms.map(Period::millis), "{text}");
    check("250ms", Some(250));
    check("5s", Some(5_000));
    check("1m30s", Some(90_000));
    check("1m 30s", Some(90_000));
    check("2h", Some(7_200_000));
    check("0s", Some(0));
    check("5", None);
    check("", None);
    check("-5s", None);
    check("soon", None);
    for period in [Period::millis(250), Period::seconds(90), Period::seconds(0)] {
        assert_eq!(period.to_string().parse(), Ok(period));
    }
}
