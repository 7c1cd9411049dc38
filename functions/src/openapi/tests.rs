use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use url::Url;

use super::*;
use crate::testing::{ADDRESSES, World, request, resolved};

fn described() -> Value {
    serde_json::to_value(description()).unwrap()
}

fn operations(api: &Value) -> Vec<(String, String, &Value)> {
    let paths = api["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    });
    each.collect()
}

#[tokio::test]
async fn every_operation_described_exists() {
    let world = World::new();
    world.key("sk_test_admin", |row| row.role = domain::api_key::Role::Admin);
    let app = crate::router::api(&world.platform());
    for (method, path, operation) in operations(&described()) {
        let concrete = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>();
        let answer = request(&app, &method, &concrete.join("/"), Some("sk_test_admin"), &[], "").await;
        let unknown = answer.status == 405 || (answer.status == 404 && answer.json()["detail"] == "no such path");
        assert!(!unknown, "{method} {path} is described and not served");
        let status = answer.status.to_string();
        assert!(operation["responses"].get(&status).is_some(), "{method} {path} answers {status}: not described");
    }
}

/// Paths as they stand in the sources, outside of this module and of tests.
fn routes_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["openapi", "testing", "tests", "bin"].contains(&name.as_str()) {
                routes_in(&path, found);
            }
            continue;
        }
        if name == "tests.rs" || name == "openapi.rs" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for literal in text.split('"').skip(1).step_by(2) {
            let is_route = literal.starts_with("/api/v1/") || literal.starts_with("/health");
            // Places that are filled in are links to routes, not routes.
            if is_route && !literal.contains("{}") && !literal.ends_with('/') {
                found.insert(literal.to_owned());
            }
        }
    }
}

#[test]
fn every_route_is_described() {
    let api = described();
    let mut found = BTreeSet::new();
    routes_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 5, "{found:?}");
    for route in found {
        assert!(api["paths"].get(&route).is_some(), "{route} is not described in openapi");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(at: &Value, api: &Value) {
        match at {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(api.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|inner| walk(inner, api));
            }
            Value::Array(items) => items.iter().for_each(|inner| walk(inner, api)),
            _ => {}
        }
    }
    let api = described();
    assert_eq!(api["openapi"], "3.1.0");
    walk(&api, &api);
    let ids: Vec<_> = operations(&api).into_iter().map(|(_, _, operation)| operation["operationId"].clone()).collect();
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len(), "{ids:?}");
}

#[tokio::test]
async fn people_and_programs_can_read_it() {
    let app = router();
    let check = async |path: &str, status: u16, kind: &str| {
        let answer = request(&app, "GET", path, None, &[], "").await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("content-type").starts_with(kind), "{path}: {}", answer.header("content-type"));
    };
    check("/openapi.json", 200, "application/json").await;
    check("/docs/", 200, "text/html").await;
    check("/docs/swagger-ui.css", 200, "text/css").await;
    check("/docs/swagger-ui-bundle.js", 200, "").await;
    check("/docs/nothing.js", 404, "application/problem+json").await;
}

/// What a page loads.
fn references(page: &str) -> Vec<&str> {
    let quoted = page.split('"');
    let pairs = quoted.clone().zip(quoted.skip(1));
    pairs.filter(|(before, _)| before.ends_with("href=") || before.ends_with("src=")).map(|(_, at)| at).collect()
}

#[tokio::test]
async fn the_page_and_its_description_find_their_way_below_any_address() {
    let app = router();
    for base in ADDRESSES {
        let follow = async |from: &Url, reference: &str| {
            let (url, path) = resolved(base, from, reference);
            (request(&app, "GET", &path, None, &[], "").await, url)
        };
        let asked = Url::parse(&format!("{base}{PAGE}")).unwrap();
        let moved = request(&app, "GET", PAGE, None, &[], "").await;
        assert_eq!(moved.status, 303);
        let (page, at) = follow(&asked, &moved.header("location")).await;
        assert_eq!((page.status, at.as_str()), (200, format!("{base}{PAGE}/index.html").as_str()));
        let text = String::from_utf8(page.body).unwrap();
        let loaded = references(&text);
        assert!(loaded.iter().any(|reference| reference.ends_with("swagger-initializer.js")), "{loaded:?}");
        for reference in loaded {
            assert_eq!(follow(&at, reference).await.0.status, 200, "{reference} of {at}");
        }

        let config = follow(&at, "swagger-initializer.js").await.0;
        let told = format!("..{PATH}");
        assert!(String::from_utf8_lossy(&config.body).contains(&format!("\"{told}\"")), "where the description is");
        let (description, described_at) = follow(&at, &told).await;
        let servers = description.json()["servers"].clone();
        let server = servers[0]["url"].as_str().unwrap();
        // Tools differ in what they do first; both must come to the same.
        let resolved_first = described_at.join(server).unwrap();
        assert_eq!(resolved_first.as_str().trim_end_matches('/'), base, "{servers}");
        let (appended_first, _) = resolved(base, &described_at, &format!("{server}/api/v1/dialout"));
        assert_eq!(appended_first.as_str(), format!("{base}/api/v1/dialout"), "{servers}");
    }
}
