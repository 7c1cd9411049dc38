//! Template names that are probably not what was meant: of namespaces and fields that don't exist, or without a value in
//! the call at hand, each with the nearest name that does exist.
//! It must never refuse anything: which fields a customer or an analysis brings is not known beforehand.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::bot::Bot;
use crate::near::{nearest, slip};
use crate::result::{CallResult, Record};
use crate::template::{BUILT_INS, Context, NAMESPACES, SYSTEM, Template};

/// The result's own fields (`api.md` §5), and what stands in it besides for every call.
const RESULT: &[&str] = &[
    "session_id",
    "caller_id",
    "call_duration_seconds",
    "disconnected_by",
    "transcript",
    "recording_url",
    "post_call_analysis",
    "bot_id",
    "direction",
    "to_number",
    "from_number",
    "started_at",
    "answered_at",
    "ended_at",
    "end_reason",
    "sip_code",
    "variables",
    "recording_status",
    "analysis_status",
    "latency",
];
/// Fields of every analysis, also of one that was skipped, and what a call that the bot ended or
/// gave away may have.
const ANALYSIS: &[&str] = &["disposition", "remarks", "end_call_reason", "transferred_to"];
/// Most characters of a text that is quoted.
const QUOTED: usize = 40;

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LintProblem)]
pub enum Problem {
    /// There is no such namespace, or none at this time of a call.
    UnknownNamespace,
    /// The namespace is there, and can't have this field; or has one that is spelt nearly so.
    UnknownField,
    /// The field may exist; in this call it does not.
    NoValue,
    /// Braces that are no template, and are sent as they are.
    NotATemplate,
}

/// One doubtful name in one text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LintFinding)]
pub struct Finding {
    /// JSON pointer (RFC 6901) of the text inside the key mapper.
    pub pointer: String,
    /// `namespace.field`; of braces that are no template, the braces with what is in them.
    pub name: String,
    pub problem: Problem,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        match self.problem {
            Problem::UnknownNamespace | Problem::UnknownField => write!(f, "there is no {{{{{}}}}}", self.name)?,
            Problem::NoValue => write!(f, "{{{{{}}}}} has no value in this call", self.name)?,
            Problem::NotATemplate => write!(f, "{:?} is no template and stays as it is", self.name)?,
        }
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {{{{{nearest}}}}}?"),
            None => Ok(()),
        }
    }
}

/// The names that templates of one bot may use, as far as they are known.
#[derive(Debug, Clone, Default)]
pub struct Names {
    crm: BTreeSet<String>,
    call: BTreeSet<String>,
    result: BTreeSet<String>,
    /// What the script collects: its texts may speak of it while the call lives.
    collected: BTreeSet<String>,
    /// Whether `result` can't have any further field.
    result_is_closed: bool,
}

impl Names {
    /// What the bot's settings say of its results.
    pub fn of_bot(bot: &Bot) -> Self {
        let mut result: BTreeSet<String> = RESULT.iter().chain(ANALYSIS).map(|name| (*name).to_owned()).collect();
        let schema = bot.analysis_schema.as_ref();
        let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        result.extend(properties.into_iter().flatten().map(|(name, _)| name.clone()));
        let mut collected = BTreeSet::new();
        if let Some(script) = &bot.script {
            collected.extend(script.result.keys().cloned());
            for step in &script.steps {
                collected.extend(step.field.clone());
                collected.extend(step.branches.values().flat_map(|branch| branch.result.keys().cloned()));
            }
        }
        result.extend(collected.iter().cloned());
        let refuses_more = schema.is_some_and(|schema| schema.get("additionalProperties") == Some(&Value::Bool(false)));
        let scripted = bot.script.is_some() && bot.post_call_analysis_prompt.is_empty();
        let call = BUILT_INS.iter().map(|name| (*name).to_owned()).collect();
        Self { crm: BTreeSet::new(), call, result, collected, result_is_closed: refuses_more || scripted }
    }

    /// Adds what one ended call brought.
    #[must_use]
    pub fn seen_in(mut self, result: &CallResult, record: &Record) -> Self {
        self.crm.extend(record.crm.iter().map(|(name, _)| name.to_owned()));
        self.call.extend(record.custom.iter().map(|(name, _)| name.to_owned()));
        self.call.extend(result.variables.keys().cloned());
        self.result.extend(result.post_call_analysis.keys().cloned());
        self
    }

    /// What is wrong with `namespace.field`, whatever the call.
    fn judge(&self, namespace: &str, field: &str) -> Option<(Problem, Option<String>)> {
        let known = match namespace {
            "crm" => return None,
            "call" if field.starts_with("custom.") => return None,
            "call" => &self.call,
            "result" => &self.result,
            "system" => {
                let near = nearest(field, SYSTEM.iter().copied()).map(|near| format!("system.{near}"));
                return (!SYSTEM.contains(&field)).then_some((Problem::UnknownField, near));
            }
            unknown => {
                let near = nearest(unknown, NAMESPACES.iter().copied()).map(|near| format!("{near}.{field}"));
                return Some((Problem::UnknownNamespace, near));
            }
        };
        let head = field.split('.').next().unwrap_or(field);
        if known.contains(field) || known.contains(head) {
            return None;
        }
        let near = near_in(namespace, known, field);
        let closed = namespace == "result" && self.result_is_closed;
        (closed || near.is_some()).then_some((Problem::UnknownField, near))
    }

    /// As [`Names::judge`], of a field that has no value in the call at hand.
    fn judge_missing(&self, namespace: &str, field: &str) -> (Problem, Option<String>) {
        let unknown = self.judge(namespace, field);
        unknown.unwrap_or_else(|| {
            let near = if namespace == "crm" { near_in("crm", &self.crm, field) } else { None };
            (Problem::NoValue, near)
        })
    }
}

fn near_in(namespace: &str, known: &BTreeSet<String>, field: &str) -> Option<String> {
    let known = known.iter().map(String::as_str);
    // Whatever a dialler sends along is a `call` field too.
    let near = if namespace == "call" { slip(field, known) } else { nearest(field, known) };
    near.map(|near| format!("{namespace}.{near}"))
}

/// The doubtful names of a key mapper; with the context that it is rendered against, those without a value too.
pub fn key_mapper(mapper: &Value, names: &Names, context: Option<&Context>) -> Vec<Finding> {
    let mut findings = Vec::new();
    leaves(mapper, &mut String::new(), &mut |pointer, text| {
        let template = Template::parse(text);
        let doubtful: Vec<(&str, &str)> = match context {
            None => template.tokens().collect(),
            Some(context) => {
                let missing = template.render(context).missing;
                template.tokens().filter(|(space, field)| missing.contains(&format!("{space}.{field}"))).collect()
            }
        };
        for (namespace, field) in doubtful {
            let judged = match context {
                None => names.judge(namespace, field),
                Some(_) => Some(names.judge_missing(namespace, field)),
            };
            push(&mut findings, pointer, format!("{namespace}.{field}"), judged);
        }
        broken(&template, pointer, &mut findings);
    });
    findings
}

/// Namespace and field of every token of a key mapper.
pub fn names_in(mapper: &Value) -> BTreeSet<(String, String)> {
    let mut names = BTreeSet::new();
    leaves(mapper, &mut String::new(), &mut |_, text| {
        let template = Template::parse(text);
        names.extend(template.tokens().map(|(namespace, field)| (namespace.to_owned(), field.to_owned())));
    });
    names
}

/// The doubtful names of a text that is rendered while the call lives: there is no result yet.
pub fn live_text(text: &str, names: &Names) -> Vec<Finding> {
    live_body(&Value::String(text.to_owned()), names)
}

/// As [`live_text`], of every text in a body.
pub fn live_body(body: &Value, names: &Names) -> Vec<Finding> {
    let mut findings = Vec::new();
    leaves(body, &mut String::new(), &mut |pointer, text| {
        let template = Template::parse(text);
        for (namespace, field) in template.tokens() {
            let judged = match namespace {
                "result" if names.collected.contains(field) => None,
                "result" => Some((Problem::UnknownNamespace, None)),
                _ => names.judge(namespace, field),
            };
            push(&mut findings, pointer, format!("{namespace}.{field}"), judged);
        }
        broken(&template, pointer, &mut findings);
    });
    findings
}

/// The doubtful names of a text that is rendered when the call has ended.
pub fn ended_text(text: &str, names: &Names) -> Vec<Finding> {
    key_mapper(&Value::String(text.to_owned()), names, None)
}

fn push(findings: &mut Vec<Finding>, pointer: &str, name: String, judged: Option<(Problem, Option<String>)>) {
    let Some((problem, nearest)) = judged else { return };
    let finding = Finding { pointer: pointer.to_owned(), name, problem, nearest };
    if !findings.contains(&finding) {
        findings.push(finding);
    }
}

/// Braces between the tokens that open like a template.
fn broken(template: &Template, pointer: &str, findings: &mut Vec<Finding>) {
    for literal in template.literals() {
        let Some(open) = literal.find("{{") else { continue };
        let inside = literal[open + 2..].trim_start_matches('{');
        let inside = inside.split("}}").next().unwrap_or(inside);
        if inside.trim().is_empty() {
            continue;
        }
        let closed = literal[open..].contains("}}");
        let quoted: String = inside.chars().take(QUOTED).collect();
        let name = if closed { format!("{{{{{quoted}}}}}") } else { format!("{{{{{quoted}") };
        let squeezed: String = inside.chars().filter(|c| !c.is_whitespace()).collect();
        let read = Template::parse(&format!("{{{{{squeezed}}}}}"));
        let meant = read.tokens().next().map(|(namespace, field)| format!("{namespace}.{field}"));
        push(findings, pointer, name, Some((Problem::NotATemplate, meant)));
    }
}

/// Calls `visit` on every text in `value`, with its JSON pointer.
fn leaves(value: &Value, pointer: &mut String, visit: &mut dyn FnMut(&str, &str)) {
    let length = pointer.len();
    match value {
        Value::String(text) => visit(pointer, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{index}"));
                leaves(item, pointer, visit);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                leaves(member, pointer, visit);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
