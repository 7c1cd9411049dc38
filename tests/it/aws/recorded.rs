//! Events as API Gateway and SQS send them, given to the functions' binaries by `cargo lambda watch` and `invoke`. The
//! tables behind them are those of a deployed stack.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ringfleet_tests::aws::{Stack, Tools, Watch, built_template};
use serde_json::{Value, json};

const AUTHORIZER: &str = include_str!("../../fixtures/aws/authorizer.json");
const PROXY: &str = include_str!("../../fixtures/aws/proxy.json");
const SQS: &str = include_str!("../../fixtures/aws/sqs.json");

/// The binary that `sam build` put below a function's logical id.
fn binary(function: &str) -> Result<PathBuf> {
    let built = built_template()?;
    Ok(built.parent().context("a template lies in a folder")?.join(function).join("bootstrap"))
}

pub(super) async fn events_are_answered(tools: &Tools, stack: &Stack, key: &str) -> Result<()> {
    let watch = Watch::start(tools).await?;
    let settings = stack.settings()?;
    authorizer(&watch, &settings, key).await?;
    proxy(&watch, &settings, key).await?;
    partial_failure(&watch, settings).await?;
    watch.stop().await
}

/// One allowing policy for the whole stage, since API Gateway keeps it; and the one text that it makes a 401 of.
async fn authorizer(watch: &Watch, settings: &[(String, String)], key: &str) -> Result<()> {
    let mut function = watch.function("auth", &binary("AuthFunction")?, settings)?;
    let answer = watch.invoke("auth", &AUTHORIZER.replace("@KEY@", key)).await?;
    let policy = answer.map_err(anyhow::Error::msg)?;
    let statement = json!([{
        "Action": "execute-api:Invoke", "Effect": "Allow",
        "Resource": "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/prod/*",
    }]);
    ensure!(policy["policyDocument"]["Statement"] == statement, "{policy}");
    ensure!(policy["context"]["role"] == "admin" && policy["context"]["key_id"] == policy["principalId"], "{policy}");
    let refused = watch.invoke("auth", &AUTHORIZER.replace("@KEY@", "rf_nobody_minted_this_one_ever_before")).await?;
    let why = match refused {
        Err(said) => said,
        Ok(answer) => answer.to_string(),
    };
    ensure!(why.contains("Unauthorized"), "{why}");
    function.kill().await
}

/// The stage in the path is none of the function's business.
async fn proxy(watch: &Watch, settings: &[(String, String)], key: &str) -> Result<()> {
    let mut function = watch.function("admin", &binary("AdminFunction")?, settings)?;
    for (key, status) in [(key, 200), ("rf_nobody_minted_this_one_ever_before", 401)] {
        let answer = watch.invoke("admin", &PROXY.replace("@KEY@", key)).await?.map_err(anyhow::Error::msg)?;
        ensure!(answer["statusCode"] == status, "{answer}");
        let body: Value = serde_json::from_str(answer["body"].as_str().context("no body")?)?;
        let fits = if status == 200 { body["items"] == json!([]) } else { body["code"] == "unauthorized" };
        ensure!(fits, "{body}");
    }
    function.kill().await
}

/// The tables are away: the job comes again, and what can't become a job does not.
async fn partial_failure(watch: &Watch, mut settings: Vec<(String, String)>) -> Result<()> {
    for (name, value) in &mut settings {
        if name == "RINGFLEET_NAMES_PREFIX" {
            "nowhere-".clone_into(value);
        }
    }
    let mut function = watch.function("analyze", &binary("AnalyzeFunction")?, &settings)?;
    let answer = watch.invoke("analyze", SQS).await?.map_err(anyhow::Error::msg)?;
    let failed = json!([{"itemIdentifier": "059f36b4-87a3-44ab-83d2-661975830a7d"}]);
    ensure!(answer["batchItemFailures"] == failed, "{answer}");
    function.kill().await
}

#[test]
fn recorded_events_are_what_the_functions_are_bound_to() {
    for (text, member) in [(AUTHORIZER, "methodArn"), (PROXY, "requestContext"), (SQS, "Records")] {
        let event: Value = serde_json::from_str(text).unwrap();
        assert!(!event[member].is_null(), "{member}");
        assert!(text.contains("@KEY@") || member == "Records", "{member}");
    }
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml").is_file());
}
