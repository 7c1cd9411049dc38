//! What a server's role may do: each statement names what it needs. Nothing broad may be unexplained.

use serde_json::{Value, json};

use super::super::document::{Template, many, text};
use super::check;

/// Statements with a resource that is not one thing, and why nothing narrower exists.
const BROAD: &[(&str, &str)] = &[
    ("autoscaling:CompleteLifecycleAction", "AWS chooses the group's id; the name is the stack's"),
    ("autoscaling:RecordLifecycleActionHeartbeat", "the same"),
    ("cloudwatch:PutMetricData", "metrics are no resource; the namespace is the limit"),
    ("ec2:DescribeAddresses", "addresses are listed all or none"),
    ("ec2:AssociateAddress", "any address of the pool, any server of the stack, by their tags"),
    ("logs:CreateLogStream", "the streams of one log group"),
    ("logs:DescribeLogStreams", "the streams of one log group"),
    ("logs:PutLogEvents", "the streams of one log group"),
    ("s3:GetObject", "the files of one release"),
];

fn powers(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let whole = template
        .with("/Parameters/ElasticIpPool/Default", &json!("mumbai"))
        .with("/Parameters/TlsSecretArn/Default", &json!("arn:aws:secretsmanager:s"));
    let policies = many(&whole.properties("Role")["Policies"]);
    let policies: Vec<(&str, &Value)> =
        policies.iter().map(|policy| (text(&policy["PolicyName"]), &policy["PolicyDocument"])).collect();
    // What is a resource of its own is made beside the group: its first servers may come before it.
    let wanted = ["boot", "watch", "pool", "tls"];
    if policies.iter().map(|(name, _)| *name).ne(wanted) || !template.of("AWS::IAM::RolePolicy").is_empty() {
        faults.push(format!("servers may start before they may do {wanted:?}"));
    }
    for statement in policies.iter().flat_map(|(_, document)| many(&document["Statement"])) {
        for action in many(&statement["Action"]) {
            let action = text(&action);
            if action.contains('*') {
                faults.push(format!("{action} is every action"));
            }
            let is_broad = many(&statement["Resource"]).iter().any(|resource| text(resource).contains('*'));
            if is_broad && !BROAD.iter().any(|(known, _)| *known == action) {
                faults.push(format!("{action} on everything"));
            }
            let needs_tag = ["ec2:AssociateAddress", "cloudwatch:PutMetricData"].contains(&action);
            if needs_tag && statement["Condition"]["StringEquals"].as_object().is_none_or(serde_json::Map::is_empty) {
                faults.push(format!("{action} without a limit"));
            }
        }
    }
    let managed = many(&template.properties("Role")["ManagedPolicyArns"]);
    if managed != [json!("<Fn::ImportValue>")] {
        faults.push(format!("the role has {managed:?}"));
    }
    faults
}

#[test]
fn a_server_may_do_what_it_does_and_nothing_else() {
    let statement = "/Resources/Role/Properties/Policies/0/PolicyDocument/Statement/0";
    check(
        powers,
        &[
            (&format!("{statement}/Action"), json!("s3:*"), "s3:* is every action"),
            (&format!("{statement}/Action"), json!("s3:PutObject"), "s3:PutObject on everything"),
            (
                "/Resources/Role/Properties/Policies/1/PolicyDocument/Statement/1/Condition",
                Value::Null,
                "without a limit",
            ),
            (
                "/Resources/Role/Properties/Policies/2/Fn::If/1/PolicyDocument/Statement/1/Condition",
                Value::Null,
                "without a limit",
            ),
            ("/Resources/Role/Properties/Policies/3", json!({"PolicyName": "other"}), "before they may"),
            (
                "/Resources/Role/Properties/ManagedPolicyArns",
                json!(["arn:aws:iam::aws:policy/AdministratorAccess"]),
                "Administrator",
            ),
        ],
    );
}
