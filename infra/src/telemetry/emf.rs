//! Metrics as CloudWatch takes them from a function's log: lines of Embedded Metric Format on standard output, one for each
//! set of labels, after each invocation. `ringfleet_push_tries_total` with the label `server_group` is `PushTries` by
//! `Deployment`, and by `Deployment` and `ServerGroup`. It must never keep a value for a later invocation, nor be the
//! recorder of a process that serves Prometheus: a main installs one or the other.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use domain::ports::Clock;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Label, Metadata, Recorder, SharedString,
    Unit,
};
use serde_json::{Map, Value, json};
use thiserror::Error;

/// Where CloudWatch keeps them.
pub const NAMESPACE: &str = "Ringfleet";
/// The names prefix of the deployment, without its last dash.
const DEPLOYMENT: &str = "Deployment";
/// More values of one metric a line can't hold.
const VALUES: usize = 100;

#[derive(Debug, Error)]
#[error("metrics have a recorder already")]
pub struct Twice;

/// The metrics of one function.
#[derive(Debug)]
pub struct Emf {
    function: &'static str,
    deployment: String,
    kept: Mutex<BTreeMap<Key, Kept>>,
}

/// What came since the last line, and of which kind it is.
#[derive(Debug, Clone)]
enum Kept {
    Sum(Arc<Sum>),
    Last(Arc<Last>),
    Values(Arc<Values>),
}

#[derive(Debug, Default)]
struct Sum(Mutex<u64>);

/// `None`: not set since it was told.
#[derive(Debug, Default)]
struct Last(Mutex<Option<f64>>);

#[derive(Debug, Default)]
struct Values(Mutex<Vec<f64>>);

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Emf {
    /// Takes in what this process counts from now on; it lives as long as the process.
    ///
    /// # Errors
    /// There is a recorder already.
    pub fn install(function: &'static str, names_prefix: &str) -> Result<&'static Self, Twice> {
        let emf: &'static Self = Box::leak(Box::new(Self::new(function, names_prefix)));
        metrics::set_global_recorder(emf).map_err(|_| Twice)?;
        Ok(emf)
    }

    fn new(function: &'static str, names_prefix: &str) -> Self {
        let deployment = names_prefix.trim_end_matches('-').to_owned();
        Self { function, deployment, kept: Mutex::default() }
    }

    /// Writes what came since it was last called to standard output.
    pub fn flush(&self, clock: &dyn Clock) {
        let mut lines = Vec::new();
        self.render(clock.now().as_millisecond(), &mut lines);
        // A log that can't be written has nobody who could be told.
        drop(io::stdout().lock().write_all(&lines));
    }

    fn render(&self, at: i64, out: &mut Vec<u8>) {
        let mut lines: BTreeMap<Vec<&Label>, Vec<(&Key, Taken)>> = BTreeMap::new();
        let kept = locked(&self.kept);
        for (key, kept) in kept.iter() {
            if let Some(taken) = kept.take() {
                lines.entry(key.labels().collect()).or_default().push((key, taken));
            }
        }
        for (labels, taken) in lines {
            // Gauges of a part say nothing of the whole: they stand in a line of their own.
            let (last, summed): (Vec<_>, Vec<_>) = taken.into_iter().partition(|(_, taken)| taken.is_last);
            for (metrics, with_total) in [(summed, true), (last, false)] {
                if !metrics.is_empty() {
                    out.extend(self.line(at, &labels, metrics, with_total).to_string().into_bytes());
                    out.push(b'\n');
                }
            }
        }
    }

    fn line(&self, at: i64, labels: &[&Label], metrics: Vec<(&Key, Taken)>, with_total: bool) -> Value {
        let mut dimensions = vec![vec![DEPLOYMENT.to_owned()]];
        let mut members = Map::new();
        members.insert(DEPLOYMENT.to_owned(), self.deployment.clone().into());
        members.insert("Function".to_owned(), self.function.into());
        if !labels.is_empty() {
            let names = labels.iter().map(|label| camel(label.key()));
            let set = std::iter::once(DEPLOYMENT.to_owned()).chain(names).collect();
            if with_total { dimensions.push(set) } else { dimensions = vec![set] }
        }
        members.extend(labels.iter().map(|label| (camel(label.key()), label.value().into())));
        let mut described = Vec::new();
        for (key, taken) in metrics {
            let name = camel(key.name().trim_start_matches("ringfleet_").trim_end_matches("_total"));
            described.push(json!({"Name": name, "Unit": unit(&name)}));
            members.insert(name, taken.value);
        }
        let directive = json!({"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": described});
        members.insert("_aws".to_owned(), json!({"Timestamp": at, "CloudWatchMetrics": [directive]}));
        Value::Object(members)
    }

    fn keep<T: Default>(
        &self,
        key: &Key,
        wrap: fn(Arc<T>) -> Kept,
        unwrap: fn(Kept) -> Option<Arc<T>>,
    ) -> Option<Arc<T>> {
        let mut kept = locked(&self.kept);
        unwrap(kept.entry(key.clone()).or_insert_with(|| wrap(Arc::default())).clone())
    }
}

struct Taken {
    value: Value,
    is_last: bool,
}

impl Kept {
    fn take(&self) -> Option<Taken> {
        let (value, is_last) = match self {
            Self::Sum(sum) => (Some(mem::take(&mut *locked(&sum.0))).filter(|sum| *sum > 0).map(Value::from), false),
            Self::Last(last) => (locked(&last.0).take().map(Value::from), true),
            Self::Values(values) => {
                (Some(mem::take(&mut *locked(&values.0))).filter(|values| !values.is_empty()).map(Value::from), false)
            }
        };
        value.map(|value| Taken { value, is_last })
    }
}

/// `server_group` → `ServerGroup`.
fn camel(name: &str) -> String {
    let words = name.split(['_', '.']).filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn unit(name: &str) -> &'static str {
    match name {
        _ if name.ends_with("Seconds") => "Seconds",
        _ if name.ends_with("Percent") => "Percent",
        _ => "Count",
    }
}

impl CounterFn for Sum {
    fn increment(&self, by: u64) {
        let mut sum = locked(&self.0);
        *sum = sum.saturating_add(by);
    }

    fn absolute(&self, value: u64) {
        *locked(&self.0) = value;
    }
}

impl GaugeFn for Last {
    fn increment(&self, by: f64) {
        let mut last = locked(&self.0);
        *last = Some(last.unwrap_or_default() + by);
    }

    fn decrement(&self, by: f64) {
        GaugeFn::increment(self, -by);
    }

    fn set(&self, value: f64) {
        *locked(&self.0) = Some(value);
    }
}

impl HistogramFn for Values {
    /// One invocation has a few; what goes beyond a line is left out.
    fn record(&self, value: f64) {
        let mut values = locked(&self.0);
        if values.len() < VALUES {
            values.push(value);
        }
    }
}

impl Recorder for Emf {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let sum = self.keep(key, Kept::Sum, |kept| if let Kept::Sum(sum) = kept { Some(sum) } else { None });
        sum.map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let last = self.keep(key, Kept::Last, |kept| if let Kept::Last(last) = kept { Some(last) } else { None });
        last.map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let values = self.keep(key, Kept::Values, |kept| if let Kept::Values(all) = kept { Some(all) } else { None });
        values.map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_invocation_counted_is_told_once() {
        let emf = Emf::new("push", "acme-");
        let lines = || {
            let mut out = Vec::new();
            emf.render(1_795_000_000_000, &mut out);
            let text = String::from_utf8(out).unwrap();
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
        };
        assert!(lines().is_empty());
        metrics::with_local_recorder(&emf, || {
            metrics::counter!("ringfleet_push_tries_total").increment(2);
            metrics::counter!("ringfleet_push_tries_total").increment(1);
            metrics::counter!("ringfleet_delivery_tries_total", "channel" => "push").increment(1);
            metrics::histogram!("ringfleet_delivery_seconds", "channel" => "push").record(0.5);
            metrics::gauge!("ringfleet_busy_percent").set(25.0);
            metrics::gauge!("ringfleet_busy_percent", "server_group" => "mumbai").set(50.0);
        });
        let told = lines();
        let directive = |line: &Value| line["_aws"]["CloudWatchMetrics"][0].clone();
        let all = |dimensions: Value, metrics: Value, member: &str, value: Value| {
            let found = told.iter().find(|line| directive(line)["Dimensions"] == dimensions && line[member] == value);
            let line = found.unwrap_or_else(|| panic!("{dimensions} {member} in {told:?}"));
            assert_eq!(directive(line)["Metrics"], metrics);
            assert_eq!((&line["Deployment"], &line["Function"]), (&json!("acme"), &json!("push")));
            assert_eq!(directive(line)["Namespace"], "Ringfleet");
            assert_eq!(line["_aws"]["Timestamp"], 1_795_000_000_000_u64);
        };
        let (whole, channel) = (json!([["Deployment"]]), json!([["Deployment"], ["Deployment", "Channel"]]));
        all(whole.clone(), json!([{"Name": "PushTries", "Unit": "Count"}]), "PushTries", json!(3));
        let two = json!([{"Name": "DeliverySeconds", "Unit": "Seconds"}, {"Name": "DeliveryTries", "Unit": "Count"}]);
        all(channel, two, "DeliverySeconds", json!([0.5]));
        let busy = json!([{"Name": "BusyPercent", "Unit": "Percent"}]);
        all(whole, busy.clone(), "BusyPercent", json!(25.0));
        all(json!([["Deployment", "ServerGroup"]]), busy, "ServerGroup", json!("mumbai"));
        assert_eq!(told.len(), 4);
        assert!(lines().is_empty(), "nothing is told twice");
    }
}
