//! Keys after they were made: read, changed, revoked, deleted; and that an admin key is always left.

use domain::api_key::Role;
use serde_json::{Value, json};

use super::{ADMIN, get, send, world};
use crate::testing::{World, request};

/// What a read shows of the key with this text.
fn id_of(world: &World, text: &str) -> String {
    let hash = domain::api_key::ApiKey::parse(text).unwrap().hash();
    world.tables.lock().keys[&hash].key_id.to_string()
}

fn path(world: &World, text: &str) -> String {
    format!("keys/{}", id_of(world, text))
}

#[tokio::test]
async fn a_key_lives_through_its_versions() {
    let (_, app) = world();
    let minted = send(&app, "POST", "keys", None, &json!({"name": "CRM", "bots": ["b1"]})).await;
    assert_eq!(minted.header("etag"), "\"1\"");
    let at = minted.header("location");
    let text = minted.json()["key"].as_str().unwrap().to_owned();

    let read = get(&app, &at).await;
    assert_eq!((read.status, read.header("etag").as_str(), read.json().get("key")), (200, "\"1\"", None));
    let mut body = read.json();
    (body["name"], body["bots"], body["expires_at"]) = (json!("CRM 2"), json!(["*"]), json!("2026-02-01T00:00:00Z"));
    assert_eq!(send(&app, "PUT", &at, None, &body).await.status, 428);
    assert_eq!(send(&app, "PUT", &at, Some("\"2\""), &body).await.status, 412);
    let changed = send(&app, "PUT", &at, Some("\"1\""), &body).await;
    assert_eq!((changed.status, changed.header("etag").as_str()), (200, "\"2\""), "{}", changed.json());
    assert_eq!((changed.json()["name"].clone(), changed.json()["bots"].clone()), (json!("CRM 2"), json!(["*"])));
    assert_eq!(send(&app, "PUT", &at, Some("\"1\""), &body).await.status, 412);

    // Revoked: at once, and for good until somebody says otherwise.
    let used = request(&app, "GET", "/api/v1/admin/bots", Some(&text), &[], "").await.status;
    body["active"] = json!(false);
    assert_eq!(send(&app, "PUT", &at, Some("\"2\""), &body).await.json()["active"], false);
    let after = request(&app, "GET", "/api/v1/admin/bots", Some(&text), &[], "").await.status;
    assert_eq!((used, after), (403, 401));

    assert_eq!(send(&app, "DELETE", &at, Some("\"1\""), &json!(null)).await.status, 412);
    assert_eq!(send(&app, "DELETE", &at, Some("\"3\""), &json!(null)).await.status, 204);
    assert_eq!(send(&app, "DELETE", &at, None, &json!(null)).await.status, 404);
    assert_eq!(get(&app, &at).await.status, 404);
}

#[tokio::test]
async fn a_use_between_read_and_change_is_no_conflict_and_stays_noted() {
    let (world, app) = world();
    let at = path(&world, "sk_test_client");
    let body = get(&app, &at).await.json();
    request(&app, "GET", "/api/v1/admin/bots", Some("sk_test_client"), &[], "").await;
    let changed = send(&app, "PUT", &at, Some("\"1\""), &body).await;
    assert_eq!(changed.status, 200);
    assert_eq!(get(&app, &at).await.json()["last_used_at"], json!(world.now()));
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused() {
    let (world, app) = world();
    let at = path(&world, "sk_test_client");
    let whole = get(&app, &at).await.json();
    let check = async |member: &str, value: Option<Value>, kind: &str| {
        let mut body = whole.clone();
        match value {
            Some(value) => body[member] = value,
            None => drop(body.as_object_mut().unwrap().remove(member)),
        }
        let answer = send(&app, "PUT", &at, Some("\"1\""), &body).await;
        assert_eq!(answer.status, 422, "{member}: {}", answer.json());
        let fault = &answer.json()["errors"][0];
        assert_eq!((&fault["loc"][1], &fault["type"]), (&json!(member), &json!(kind)), "{member}");
    };
    for needed in ["name", "role", "bots", "active"] {
        check(needed, None, "missing").await;
    }
    check("name", Some(json!(" ")), "length").await;
    check("role", Some(json!("root")), "value_error").await;
    check("key_id", Some(json!("key_other")), "id_mismatch").await;
    check("key", Some(json!("another-text")), "extra_forbidden").await;
    check("expires_at", Some(json!("2020-01-01T00:00:00Z")), "in_the_past").await;
    assert_eq!(get(&app, &at).await.json()["version"], 1, "nothing was stored");
}

#[tokio::test]
async fn an_expired_key_can_still_be_renamed_and_ended() {
    let (world, app) = world();
    let past = world.now() - std::time::Duration::from_secs(60);
    world.key("sk_test_expired", |row| row.expires_at = Some(past));
    let at = path(&world, "sk_test_expired");
    let mut body = get(&app, &at).await.json();
    body["name"] = json!("old");
    assert_eq!(send(&app, "PUT", &at, Some("\"1\""), &body).await.status, 200);
}

#[tokio::test]
async fn nobody_takes_the_role_from_the_key_they_ask_with() {
    let (world, app) = world();
    let own = path(&world, "sk_test_admin");
    let whole = get(&app, &own).await.json();
    let check = async |code: &str| {
        for (member, value) in [("active", json!(false)), ("role", json!("client"))] {
            let mut body = whole.clone();
            body[member] = value;
            let answer = send(&app, "PUT", &own, Some("\"1\""), &body).await;
            assert_eq!((answer.status, answer.code().as_str()), (409, code), "{member}");
        }
        let answer = send(&app, "DELETE", &own, None, &json!(null)).await;
        assert_eq!((answer.status, answer.code().as_str()), (409, code));
    };
    check("last_admin_key").await;
    let mut ending = whole.clone();
    ending["expires_at"] = json!("2026-02-01T00:00:00Z");
    assert_eq!(send(&app, "PUT", &own, Some("\"1\""), &ending).await.code(), "last_admin_key");
    world.key("sk_test_revoked_admin", |row| (row.role, row.active) = (Role::Admin, false));
    check("last_admin_key").await;
    world.key("sk_test_other_admin", |row| row.role = Role::Admin);
    check("own_key").await;
    assert_eq!(get(&app, &own).await.json(), whole, "nothing was changed");

    // What leaves the role may be changed, and the other admin's key may be ended.
    ending["name"] = json!("me");
    assert_eq!(send(&app, "PUT", &own, Some("\"1\""), &ending).await.status, 200);
    let other = path(&world, "sk_test_other_admin");
    assert_eq!(send(&app, "DELETE", &other, None, &json!(null)).await.status, 204);
}

#[tokio::test]
async fn of_two_admins_who_end_each_other_s_keys_one_is_left() {
    let (world, app) = world();
    world.key("sk_test_other_admin", |row| row.role = Role::Admin);
    let (first, second) = (path(&world, "sk_test_admin"), path(&world, "sk_test_other_admin"));
    let end = async |path: &str, key: Option<&str>| {
        request(&app, "DELETE", &format!("/api/v1/admin/{path}"), key, &[], "").await.status
    };
    let said = tokio::join!(end(&second, ADMIN), end(&first, Some("sk_test_other_admin")));
    assert!(matches!(said, (204, 401) | (401, 204)), "{said:?}");
    let now = world.now();
    assert_eq!(world.tables.lock().keys.values().filter(|key| key.is_usable_admin(now)).count(), 1);
}
