//! The API's definition: its routes, who may take them, and what the gateway says itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::check;
use super::data::same;
use super::document::{STACK, Template, many, root, text};

/// API Gateway waits no longer for a function.
const DEADLINE_MS: u64 = 29_000;
/// What each route has in the place of methods.
pub(super) const METHOD: &str = "x-amazon-apigateway-any-method";
/// Where a method says which function it asks, and for how long.
pub(super) const INTEGRATION: &str = "x-amazon-apigateway-integration";

/// The API's definition, worked out.
pub(super) fn definition(template: &Template) -> Value {
    let apis = template.of("AWS::Serverless::Api");
    let [(_, api)] = &apis[..] else { panic!("there are {} APIs", apis.len()) };
    api["DefinitionBody"].clone()
}

/// The logical id of the function that an integration's or authorizer's URI names.
fn function_behind(template: &Template, uri: &Value) -> Option<String> {
    let name = uri.as_str()?.strip_suffix("/invocations")?;
    let start =
        "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:";
    let name = name.strip_prefix(start)?;
    let functions = template.of("AWS::Serverless::Function");
    functions.into_iter().find(|(_, function)| function["FunctionName"] == name).map(|(id, _)| id.to_owned())
}

/// Functions that the API calls, its authorizer not among them.
pub(super) fn http_functions(template: &Template) -> BTreeSet<String> {
    let definition = definition(template);
    let routes = definition["paths"].as_object().unwrap().values();
    routes.filter_map(|route| function_behind(template, &route[METHOD][INTEGRATION]["uri"])).collect()
}

/// Whether a route takes a path, and how exactly: API Gateway prefers what is exact, part by part.
fn takes(route: &str, path: &str) -> Option<Vec<u8>> {
    let mut exactness = Vec::new();
    let mut parts = path.split('/');
    for wanted in route.split('/') {
        if wanted.ends_with("+}") {
            parts.next().filter(|part| !part.is_empty())?;
            exactness.push(0);
            return Some(exactness);
        }
        let part = parts.next()?;
        if wanted.starts_with('{') {
            exactness.push(1);
        } else if wanted == part {
            exactness.push(2);
        } else {
            return None;
        }
    }
    parts.next().is_none().then_some(exactness)
}

fn route_of<'a>(definition: &'a Value, path: &str) -> Option<(&'a str, &'a Value)> {
    let routes = definition["paths"].as_object().unwrap().iter();
    let fitting = routes.filter_map(|(route, item)| Some((takes(route, path)?, route.as_str(), item)));
    fitting.max_by(|a, b| a.0.cmp(&b.0)).map(|(_, route, item)| (route, &item[METHOD]))
}

/// The texts of a function's module, in which its routes stand.
fn sources(binary: &str) -> String {
    fn read(path: &Path, into: &mut String) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                read(&entry.unwrap().path(), into);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let module = if binary == "docs" { "openapi.rs".to_owned() } else { format!("{binary}.rs") };
    let folder = root().join("functions/src");
    let mut text = String::new();
    read(&folder.join(module), &mut text);
    if binary != "docs" && folder.join(binary).is_dir() {
        read(&folder.join(binary), &mut text);
    }
    text
}

/// Whether the function's own router has this path: whole, or put together of a list's path and `/{id}`.
fn serves(binary: &str, path: &str) -> bool {
    let text = sources(binary);
    let list = path.strip_suffix("/{id}").unwrap_or(path);
    text.contains(&format!("\"{path}\"")) || text.contains(&format!("\"{list}\""))
}

/// What the program says of itself: path and whether every caller needs a key; and the pages that are no operations.
fn described() -> Vec<(String, bool)> {
    let api = serde_json::to_value(functions::openapi::description()).unwrap();
    let paths = api["paths"].as_object().unwrap();
    let mut all: Vec<(String, bool)> = paths
        .iter()
        .map(|(path, item)| {
            let operations: Vec<&Value> = item.as_object().unwrap().values().collect();
            let open = operations.iter().any(|operation| {
                many(&operation["security"]).iter().all(|needs| needs == &json!({}))
                    || many(&operation["security"]).contains(&json!({}))
            });
            (path.clone(), !open)
        })
        .collect();
    all.extend([("/docs", false), ("/openapi.json", false)].map(|(path, keyed)| (path.to_owned(), keyed)));
    all
}

fn routes(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let definition = definition(template);
    let mut used = BTreeSet::new();
    for (path, keyed) in described() {
        let Some((route, method)) = route_of(&definition, &path) else {
            faults.push(format!("{path} has no route"));
            continue;
        };
        used.insert(route.to_owned());
        let security = if keyed { json!([{"key": []}]) } else { json!([]) };
        same(&mut faults, &format!("security of {route}, for {path},"), &method["security"], &security);
        match function_behind(template, &method[INTEGRATION]["uri"]) {
            None => faults.push(format!("{route} leads to no function")),
            Some(id) => {
                let binary = text(&template.document["Resources"][&id]["Metadata"]["BuildProperties"]["Binary"]);
                if !serves(binary, &path) {
                    faults.push(format!("{path} leads to {binary}, which does not serve it"));
                }
            }
        }
    }
    // What lies under /docs is the page's own.
    used.insert("/docs/{proxy+}".to_owned());
    for (route, item) in definition["paths"].as_object().unwrap() {
        if !used.contains(route) {
            faults.push(format!("{route} is described nowhere"));
        }
        if item.as_object().unwrap().len() != 1 || item.get(METHOD).is_none() {
            faults.push(format!("{route} answers some methods itself"));
        }
        let whole = |part: &str| !part.contains(['{', '}']) || (part.starts_with('{') && part.ends_with('}'));
        if !route.split('/').all(whole) {
            faults.push(format!("{route} has a brace within a part"));
        }
    }
    faults
}

#[test]
fn every_path_of_the_description_has_one_route_to_the_function_that_serves_it() {
    let paths = "/Resources/Api/Properties/DefinitionBody/paths";
    let dialout = format!("{paths}/~1api~1v1~1dialout");
    check(
        routes,
        &[
            (&dialout, Value::Null, "/api/v1/dialout has no route"),
            (&format!("{dialout}/{METHOD}/security"), json!([]), "security of /api/v1/dialout"),
            (
                &format!("{dialout}/{METHOD}/{INTEGRATION}/uri"),
                json!({"Fn::Sub": uri("calls")}),
                "leads to calls, which does not serve it",
            ),
            (&format!("{dialout}/{METHOD}/{INTEGRATION}/uri"), json!({"Fn::Sub": uri("nothing")}), "no function"),
            (&format!("{paths}/~1health~1fleet/{METHOD}/security"), json!([{"key": []}]), "/health/fleet"),
            (&format!("{paths}/~1api~1v1~1recordings~1{{file}}.wav"), json!({METHOD: {}}), "brace within"),
            (&format!("{paths}/~1more"), json!({METHOD: {}}), "/more is described nowhere"),
            (&format!("{paths}/~1health/get"), json!({}), "/health answers some methods itself"),
        ],
    );
}

fn uri(function: &str) -> String {
    format!(
        "arn:${{AWS::Partition}}:apigateway:${{AWS::Region}}:lambda:path/2015-03-31/functions/arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:function:${{AWS::StackName}}-{function}/invocations"
    )
}

#[test]
fn the_most_exact_route_takes_a_path() {
    let check = |route: &str, path: &str, expect: Option<&[u8]>| {
        assert_eq!(takes(route, path).as_deref(), expect, "{route} {path}");
    };
    check("/a/b", "/a/b", Some(&[2, 2, 2]));
    check("/a/{id}", "/a/{x}", Some(&[2, 2, 1]));
    check("/a/{rest+}", "/a/b/c", Some(&[2, 2, 0]));
    check("/a/{rest+}", "/a", None);
    check("/a", "/a/b", None);
}

fn integrations(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let definition = definition(template);
    for (route, item) in definition["paths"].as_object().unwrap() {
        let integration = &item[METHOD][INTEGRATION];
        same(&mut faults, &format!("type of {route}"), &integration["type"], &json!("aws_proxy"));
        same(&mut faults, &format!("method of {route}"), &integration["httpMethod"], &json!("POST"));
        same(&mut faults, &format!("deadline of {route}"), &integration["timeoutInMillis"], &json!(DEADLINE_MS));
    }
    let permissions = template.of("AWS::Lambda::Permission");
    let may_call = |id: &str, source: &str| {
        let source = format!("arn:aws:execute-api:eu-west-1:123456789012:<Api>/{source}");
        permissions.iter().any(|(_, permission)| {
            *permission
                == json!({
                    "FunctionName": format!("<{id}>"), "Action": "lambda:InvokeFunction",
                    "Principal": "apigateway.amazonaws.com", "SourceArn": source,
                })
        })
    };
    for id in http_functions(template) {
        if !may_call(&id, "*/*") {
            faults.push(format!("the API may not call {id}"));
        }
        let timeout = template.properties(&id)["Timeout"].as_u64().unwrap_or(u64::MAX);
        if timeout * 1000 >= DEADLINE_MS {
            faults.push(format!("{id} may run for {timeout} s, longer than the API waits"));
        }
    }
    let scheme = &definition["components"]["securitySchemes"]["key"];
    let authorizer = &scheme["x-amazon-apigateway-authorizer"];
    let wanted = json!({"type": "apiKey", "name": "X-API-Key", "in": "header"});
    for (member, value) in wanted.as_object().unwrap() {
        same(&mut faults, &format!("the key's {member}"), &scheme[member], value);
    }
    same(&mut faults, "the authorizer's type", &authorizer["type"], &json!("request"));
    same(&mut faults, "the authorizer's cache", &authorizer["authorizerResultTtlInSeconds"], &json!(30));
    let source = json!("method.request.header.X-API-Key");
    same(&mut faults, "the cache's key", &authorizer["identitySource"], &source);
    match function_behind(template, &authorizer["authorizerUri"]) {
        Some(id) if id == "AuthFunction" && may_call(&id, "authorizers/*") => {}
        other => faults.push(format!("the authorizer is {other:?}, or may not be called")),
    }
    faults
}

#[test]
fn the_api_calls_its_functions_within_its_deadline() {
    let body = "/Resources/Api/Properties/DefinitionBody";
    let authorizer = format!("{body}/components/securitySchemes/key/x-amazon-apigateway-authorizer");
    check(
        integrations,
        &[
            (&format!("{body}/paths/~1health/{METHOD}/{INTEGRATION}/type"), json!("aws"), "type of /health"),
            (
                &format!("{body}/paths/~1health/{METHOD}/{INTEGRATION}/timeoutInMillis"),
                json!(50),
                "deadline of /health",
            ),
            ("/Resources/AdminFunction/Properties/Timeout", json!(29), "AdminFunction may run for 29"),
            ("/Resources/DialoutApiMay", Value::Null, "may not call DialoutFunction"),
            ("/Resources/AuthApiMay", Value::Null, "the authorizer"),
            (&format!("{authorizer}/authorizerResultTtlInSeconds"), json!(300), "cache"),
            (&format!("{authorizer}/identitySource"), Value::Null, "the cache's key"),
            (&format!("{authorizer}/authorizerUri"), json!({"Fn::Sub": uri("calls")}), "the authorizer"),
        ],
    );
}

/// What a refusal looks like as a gateway response.
async fn as_gateway_response(refusal: functions::problem::Refusal) -> Value {
    let answer = refusal.into_response();
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let body = axum::body::to_bytes(answer.into_body(), 64 * 1024).await.unwrap();
    let name = |name: &str| match name {
        "www-authenticate" => "WWW-Authenticate".to_owned(),
        "retry-after" => "Retry-After".to_owned(),
        "content-type" => "Content-Type".to_owned(),
        "cache-control" => "Cache-Control".to_owned(),
        other => panic!("how is {other} written?"),
    };
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .filter(|(header, _)| *header != "content-length")
        .map(|(header, value)| {
            let place = format!("gatewayresponse.header.{}", name(header.as_str()));
            (place, json!(format!("'{}'", value.to_str().unwrap())))
        })
        .collect();
    let body: Value = serde_json::from_slice(&body).unwrap();
    json!({"statusCode": status.to_string(), "responseParameters": headers, "body": body})
}

fn gateway_responses(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = definition(template)["x-amazon-apigateway-gateway-responses"].clone();
    let wanted = functions::problem::gateway::refusals();
    let known: BTreeSet<&str> = wanted.iter().map(|(kind, _)| *kind).collect();
    let extra = found.as_object().unwrap().keys().filter(|kind| !known.contains(kind.as_str()));
    faults.extend(extra.map(|kind| format!("{kind} is answered in the template only")));
    for (kind, refusal) in wanted {
        let wanted = runtime.block_on(as_gateway_response(refusal));
        let found = &found[kind];
        let templates = found["responseTemplates"].as_object();
        let body = templates.and_then(|all| all.get("application/json")).and_then(Value::as_str);
        let body = body.and_then(|body| serde_json::from_str(body).ok()).unwrap_or(Value::Null);
        for member in ["statusCode", "responseParameters"] {
            same(&mut faults, &format!("{kind}.{member}"), &found[member], &wanted[member]);
        }
        same(&mut faults, &format!("{kind}.body"), &body, &wanted["body"]);
    }
    faults
}

#[test]
fn what_the_gateway_says_is_what_the_platform_would_say() {
    let all = "/Resources/Api/Properties/DefinitionBody/x-amazon-apigateway-gateway-responses";
    let json_template = "responseTemplates/application~1json";
    check(
        gateway_responses,
        &[
            (&format!("{all}/UNAUTHORIZED/statusCode"), json!("403"), "UNAUTHORIZED.statusCode"),
            (
                &format!("{all}/THROTTLED/responseParameters/gatewayresponse.header.Retry-After"),
                Value::Null,
                "THROTTLED",
            ),
            (&format!("{all}/REQUEST_TOO_LARGE/{json_template}"), json!("{\"code\":\"x\"}"), "REQUEST_TOO_LARGE.body"),
            (&format!("{all}/REQUEST_TOO_LARGE/{json_template}"), json!("no JSON"), "REQUEST_TOO_LARGE.body"),
            (&format!("{all}/DEFAULT_5XX"), Value::Null, "DEFAULT_5XX"),
            (&format!("{all}/INVALID_API_KEY"), json!({}), "INVALID_API_KEY is answered in the template only"),
        ],
    );
}

fn stage(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let api = template.properties("Api");
    let methods = &api["MethodSettings"][0];
    for (member, wanted) in
        [("HttpMethod", json!("*")), ("ResourcePath", json!("/*")), ("DataTraceEnabled", json!(false))]
    {
        same(&mut faults, member, &methods[member], &wanted);
    }
    same(&mut faults, "LoggingLevel", &methods["LoggingLevel"], &json!("OFF"));
    for limit in ["ThrottlingRateLimit", "ThrottlingBurstLimit"] {
        if methods[limit].as_u64().is_none_or(|limit| limit == 0) {
            faults.push(format!("{limit} is {}", methods[limit]));
        }
    }
    same(&mut faults, "TracingEnabled", &api["TracingEnabled"], &json!(true));
    same(&mut faults, "BinaryMediaTypes", &api["BinaryMediaTypes"], &json!(["*/*"]));
    let format = text(&api["AccessLogSetting"]["Format"]);
    for told in [
        "$context.path",
        "$context.identity",
        "$context.domain",
        "querystring",
        "header",
        "$context.authorizer.principalId",
    ] {
        if format.replace("$context.resourcePath", "").contains(told) {
            faults.push(format!("the access log tells {told}"));
        }
    }
    if serde_json::from_str::<Value>(&format.replace("$context.status", "200")).is_err() {
        faults.push("a line of the access log is no JSON".to_owned());
    }
    let firewall = template.properties("Firewall");
    let samples = std::iter::once(&firewall["VisibilityConfig"])
        .chain(firewall["Rules"].as_array().into_iter().flatten().map(|rule| &rule["VisibilityConfig"]));
    if samples.into_iter().any(|config| config["SampledRequestsEnabled"] != json!(false)) {
        faults.push("the firewall keeps samples of requests, with their keys".to_owned());
    }
    let rate = &firewall["Rules"][0]["Statement"]["RateBasedStatement"];
    if rate["AggregateKeyType"] != "IP" || firewall["Rules"][0]["Action"] != json!({"Block": {}}) {
        faults.push("the firewall stops nobody".to_owned());
    }
    let guarded = json!("arn:aws:apigateway:eu-west-1::/restapis/<Api>/stages/<Api.Stage>");
    same(&mut faults, "FirewallAtTheApi", &template.properties("FirewallAtTheApi")["ResourceArn"], &guarded);
    faults
}

#[test]
fn the_stage_is_throttled_traced_guarded_and_logs_nobody() {
    let api = "/Resources/Api/Properties";
    let leaky = json!({"Format": "{\"status\":$context.status,\"path\":\"$context.path\"}"});
    check(
        stage,
        &[
            (&format!("{api}/MethodSettings/0/ThrottlingRateLimit"), Value::Null, "ThrottlingRateLimit"),
            (&format!("{api}/MethodSettings/0/DataTraceEnabled"), json!(true), "DataTrace"),
            (&format!("{api}/TracingEnabled"), json!(false), "Tracing"),
            (&format!("{api}/AccessLogSetting"), leaky, "$context.path"),
            (&format!("{api}/AccessLogSetting"), json!({"Format": "{\"status\": $context.status"}), "no JSON"),
            ("/Resources/Firewall/Properties/VisibilityConfig/SampledRequestsEnabled", json!(true), "samples"),
            ("/Resources/Firewall/Properties/Rules/0/Action", json!({"Count": {}}), "stops nobody"),
            ("/Resources/FirewallAtTheApi/Properties/ResourceArn", json!("<Other>"), "FirewallAtTheApi"),
        ],
    );
}

#[test]
fn the_public_url_is_the_domain_or_the_stage() {
    let with_domain = super::template().with("/Parameters/DomainName/Default", &json!("calls.example.com"));
    for (template, url) in [
        (super::template(), "https://<Api>.execute-api.eu-west-1.amazonaws.com/prod"),
        (with_domain, "https://calls.example.com"),
    ] {
        assert_eq!(template.resolve(&template.document["Outputs"]["ApiUrl"]["Value"]), url);
        let told = &template.properties("CallsFunction")["Environment"]["Variables"];
        assert_eq!(told["RINGFLEET_PUBLIC_URL"], url);
        // Nobody's push leads back to the platform.
        let denied = &template.properties("PushFunction")["Environment"]["Variables"]["RINGFLEET_EGRESS_DENY_HOSTS"];
        let host = url.trim_start_matches("https://").split('/').next().unwrap();
        assert!(text(denied).split(',').any(|known| known == host), "{denied} lacks {host}");
    }
    assert_eq!(super::template().properties("Api")["Name"], STACK);
}
