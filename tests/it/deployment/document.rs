//! A CloudFormation template as data: its short tags written out, and its expressions worked out as far as a template
//! alone allows. What only AWS knows stays a word: `<CallsTable.Arn>`, `<Api>`.

use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// What the deployment is called, and where it is, when expressions are worked out.
pub(super) const STACK: &str = "ringfleet";
const PSEUDO: &[(&str, &str)] = &[
    ("AWS::StackName", STACK),
    ("AWS::Region", "eu-west-1"),
    ("AWS::AccountId", "123456789012"),
    ("AWS::Partition", "aws"),
    ("AWS::URLSuffix", "amazonaws.com"),
];

#[derive(Debug, Clone)]
pub(super) struct Template {
    /// With `Ref`, `Fn::Sub` and so on in place of the tags.
    pub(super) document: Value,
}

impl Template {
    /// The template at `path`, counted from the repository's root.
    pub(super) fn read(path: &str) -> Self {
        Self::parse(&std::fs::read_to_string(root().join(path)).unwrap())
    }

    pub(super) fn parse(text: &str) -> Self {
        let documents = Yaml::load_from_str(text).unwrap();
        assert_eq!(documents.len(), 1, "a template is one document");
        Self { document: plain(&documents[0]) }
    }

    /// The same with `value` in the place `pointer`, or without that place if it is null.
    pub(super) fn with(&self, pointer: &str, value: &Value) -> Self {
        let mut changed = self.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        let place = changed.document.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in the template"));
        match place {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
            Value::Object(members) if value.is_null() => {
                assert!(members.remove(&name).is_some(), "no {pointer} in the template");
            }
            Value::Object(members) => {
                members.insert(name, value.clone());
            }
            other => panic!("{parent} is {other}"),
        }
        changed
    }

    fn section(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.document[name].as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.section("Outputs")
    }

    /// Every resource, as it stands.
    pub(super) fn resources(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.section("Resources")
    }

    /// The properties of every resource of a kind, worked out.
    pub(super) fn of(&self, kind: &str) -> Vec<(&str, Value)> {
        let wanted = self.resources().filter(|(_, resource)| resource["Type"] == kind);
        wanted.map(|(id, resource)| (id, self.resolve(&resource["Properties"]))).collect()
    }

    /// The properties of one resource, worked out.
    pub(super) fn properties(&self, id: &str) -> Value {
        self.resolve(&self.document["Resources"][id]["Properties"])
    }

    /// What an expression comes to when every parameter has its default.
    pub(super) fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => {
                items.iter().map(|item| self.resolve(item)).filter(|item| !is_no_value(item)).collect()
            }
            Value::Object(members) => match (members.len(), members.iter().next()) {
                (1, Some((name, of))) if is_function(name) => self.call(name, of),
                _ => {
                    let resolved = members.iter().map(|(name, value)| (name.clone(), self.resolve(value)));
                    Value::Object(resolved.filter(|(_, value)| !is_no_value(value)).collect())
                }
            },
            other => other.clone(),
        }
    }

    fn call(&self, name: &str, of: &Value) -> Value {
        match name {
            "Ref" => self.reference(text(of)),
            "Condition" => Value::Bool(self.condition(text(of))),
            "Fn::Sub" => Value::String(self.substitute(text(of))),
            "Fn::GetAtt" => match of {
                Value::Array(parts) => json!(format!("<{}.{}>", text(&parts[0]), text(&parts[1]))),
                other => json!(format!("<{}>", text(other))),
            },
            "Fn::If" => self.resolve(if self.condition(text(&of[0])) { &of[1] } else { &of[2] }),
            "Fn::Join" => {
                let parts = self.resolve(&of[1]);
                let parts: Vec<&str> = parts.as_array().unwrap().iter().map(text).collect();
                json!(parts.join(text(&of[0])))
            }
            "Fn::Equals" => json!(loose(&self.resolve(&of[0])) == loose(&self.resolve(&of[1]))),
            "Fn::Not" => json!(self.resolve(&of[0]) == json!(false)),
            "Fn::And" => json!(self.resolve(of).as_array().unwrap().iter().all(|part| *part == json!(true))),
            "Fn::Or" => json!(self.resolve(of).as_array().unwrap().iter().any(|part| *part == json!(true))),
            // Lists that only AWS knows, and cuts of them.
            _ => json!(format!("<{name}>")),
        }
    }

    fn reference(&self, name: &str) -> Value {
        if name == "AWS::NoValue" {
            return no_value();
        }
        if let Some((_, value)) = PSEUDO.iter().find(|(known, _)| *known == name) {
            return json!(value);
        }
        match self.document["Parameters"].get(name) {
            Some(parameter) => parameter["Default"].clone(),
            None => json!(format!("<{name}>")),
        }
    }

    pub(super) fn condition(&self, name: &str) -> bool {
        self.resolve(&self.document["Conditions"][name]) == json!(true)
    }

    fn substitute(&self, pattern: &str) -> String {
        let mut whole = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').unwrap();
            whole.push_str(before);
            whole.push_str(&loose(&self.reference(name)));
            rest = after;
        }
        whole + rest
    }
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The text in a place that must hold one.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text is wanted, not {value}"))
}

/// One or many, as templates allow in many places.
pub(super) fn many(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

/// CloudFormation compares and prints everything as text.
pub(super) fn loose(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn no_value() -> Value {
    json!({"AWS::NoValue": true})
}

fn is_no_value(value: &Value) -> bool {
    *value == no_value()
}

fn is_function(name: &str) -> bool {
    name == "Ref" || name == "Condition" || name.starts_with("Fn::")
}

fn plain(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(on)) => json!(on),
        Yaml::Value(Scalar::Integer(number)) => json!(number),
        Yaml::Value(Scalar::FloatingPoint(number)) => json!(number.into_inner()),
        Yaml::Value(Scalar::String(text)) => json!(text),
        Yaml::Sequence(items) => items.iter().map(plain).collect(),
        Yaml::Mapping(members) => {
            let members: Map<String, Value> =
                members.iter().map(|(name, value)| (loose(&plain(name)), plain(value))).collect();
            Value::Object(members)
        }
        Yaml::Tagged(tag, inner) => {
            let name = match tag.suffix.as_str() {
                word @ ("Ref" | "Condition") => word.to_owned(),
                word => format!("Fn::{word}"),
            };
            let inner = match (name.as_str(), plain(inner)) {
                ("Fn::GetAtt", Value::String(path)) => {
                    let (id, attribute) = path.split_once('.').unwrap();
                    json!([id, attribute])
                }
                (_, inner) => inner,
            };
            Value::Object(Map::from_iter([(name, inner)]))
        }
        other => panic!("a template has no {other:?}"),
    }
}

#[test]
fn tags_are_written_out_and_expressions_worked_out() {
    let template = Template::parse(
        r#"
Parameters: {Domain: {Type: String, Default: ""}, Size: {Type: Number, Default: 7}}
Conditions:
  HasDomain: !Not [!Equals [!Ref Domain, ""]]
  IsSeven: !And [!Equals [!Ref Size, "7"], !Not [!Condition HasDomain]]
Resources:
  Thing:
    Type: Some::Thing
    Properties:
      Name: !Sub "${AWS::StackName}-${Size}-${Other.Arn}"
      Arn: !GetAtt Other.Arn
      Url: !If [HasDomain, !Ref Domain, !Sub "https://${Api}"]
      Gone: !If [HasDomain, 1, !Ref AWS::NoValue]
      List: [a, !If [HasDomain, b, !Ref AWS::NoValue], !Join ["-", [!Ref Size2, c]]]
      Seven: !If [IsSeven, "yes", "no"]
"#,
    );
    let expected = json!({
        "Name": "ringfleet-7-<Other.Arn>", "Arn": "<Other.Arn>", "Url": "https://<Api>",
        "List": ["a", "<Size2>-c"], "Seven": "yes",
    });
    assert_eq!(template.of("Some::Thing"), [("Thing", expected)]);
    let bent = template.with("/Parameters/Domain/Default", &json!("x.example"));
    assert_eq!(bent.properties("Thing")["Url"], "x.example");
    assert_eq!(bent.with("/Resources/Thing/Properties/Arn", &Value::Null).properties("Thing").get("Arn"), None);
}
