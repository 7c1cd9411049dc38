//! Past versions of a bot, deletions at a version, and secrets in lists.

use domain::secret::ExposeSecret;
use serde_json::{Value, json};

use super::{bot, get, send, trunk, world};

#[tokio::test]
async fn every_version_stays_readable_and_hides_its_secrets() {
    let (_, app) = world();
    assert_eq!(get(&app, "bots/b1/versions").await.status, 404);
    send(&app, "POST", "bots", None, &bot()).await;
    for version in 1..5 {
        let mut body = bot();
        body["name"] = json!(format!("name {}", version + 1));
        assert_eq!(send(&app, "PUT", "bots/b1", Some(&format!("\"{version}\"")), &body).await.status, 200);
    }
    let first = get(&app, "bots/b1/versions/1").await;
    assert_eq!((first.status, first.json()["name"].clone()), (200, json!("Collections")));
    assert_eq!(first.json()["push"]["token"], "***");
    assert_eq!(get(&app, "bots/b1/versions/5").await.json()["name"], "name 5");
    for missing in ["6", "0", "x", "-1"] {
        assert_eq!(get(&app, &format!("bots/b1/versions/{missing}")).await.status, 404, "{missing}");
    }

    let versions =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect::<Vec<_>>();
    let page = get(&app, "bots/b1/versions?limit=2").await.json();
    assert_eq!((versions(&page), page["next_before"].clone()), (vec![json!(5), json!(4)], json!(4)));
    assert_eq!(page["items"][0], json!({"version": 5, "current": true, "name": "name 5", "enabled": true}));
    let page = get(&app, "bots/b1/versions?limit=3&before=4").await.json();
    assert_eq!((versions(&page), page["next_before"].clone()), (vec![json!(3), json!(2), json!(1)], json!(null)));
    for wrong in ["limit=0", "limit=201", "limit=x", "before=0"] {
        assert_eq!(get(&app, &format!("bots/b1/versions?{wrong}")).await.status, 422, "{wrong}");
    }

    send(&app, "DELETE", "bots/b1", Some("\"5\""), &json!(null)).await;
    let page = get(&app, "bots/b1/versions").await.json();
    assert_eq!(
        (versions(&page).len(), page["items"][0]["current"].clone()),
        (5, json!(false)),
        "calls still run on them"
    );
}

#[tokio::test]
async fn a_preset_fills_what_is_left_out_and_is_stored() {
    let (_, app) = world();
    let mut body = trunk();
    body["preset"] = json!("exotel");
    body["codecs"] = json!(["pcmu"]);
    let created = send(&app, "POST", "trunks", None, &body).await.json();
    assert_eq!(
        (&created["identity_header"], &created["max_cpm"], &created["codecs"], &created["preset"]),
        (&json!("rpid"), &json!(200), &json!(["pcmu"]), &json!("exotel"))
    );
    assert!(created["warnings"][0].as_str().unwrap().contains("UDP"));
    // The same file again is the same trunk again.
    let again = send(&app, "PUT", "trunks/t1", Some("\"1\""), &body).await.json();
    assert_eq!((&again["identity_header"], &again["max_cpm"]), (&json!("rpid"), &json!(200)));
    body["preset"] = json!("acme");
    assert_eq!(send(&app, "PUT", "trunks/t1", Some("\"2\""), &body).await.json()["errors"][0]["loc"][1], "preset");
}

#[tokio::test]
async fn a_key_of_a_list_stays_with_its_vendor() {
    let (world, app) = world();
    let provider = |vendor: &str, model: &str, key: Value| {
        let mut provider =
            json!({"vendor": vendor, "model": model, "base_url": format!("https://{vendor}.example.com/v1")});
        if !key.is_null() {
            provider["api_key"] = key;
        }
        provider
    };
    let with = |providers: Vec<Value>| json!({"bot_id": "b1", "name": "B", "llm": {"providers": providers}});
    let first = with(vec![provider("openai", "m", json!("key-a")), provider("other", "m", json!("key-b"))]);
    assert_eq!(send(&app, "POST", "bots", None, &first).await.status, 201);
    let platform = world.platform();
    let keys = || -> Vec<Option<String>> {
        let stored = world.tables.lock().bots.values().next().unwrap().clone();
        let open = |key| platform.outside.seal.open("bot/b1", key).unwrap().expose_secret().to_owned();
        stored.llm.providers.iter().map(|provider| provider.api_key.as_ref().map(open)).collect()
    };
    let check = async |version: u64, providers: Vec<Value>, status: u16, expect: &[Option<&str>]| {
        let answer = send(&app, "PUT", "bots/b1", Some(&format!("\"{version}\"")), &with(providers)).await;
        assert_eq!(answer.status, status, "{}", answer.json());
        assert_eq!(keys(), expect.iter().map(|key| key.map(str::to_owned)).collect::<Vec<_>>());
    };
    let mask = || json!("***");
    // Reordered by mask, and by absence.
    check(
        1,
        vec![provider("other", "m", mask()), provider("openai", "m", mask())],
        200,
        &[Some("key-b"), Some("key-a")],
    )
    .await;
    check(
        2,
        vec![provider("openai", "m", json!(null)), provider("other", "m", json!(null))],
        200,
        &[Some("key-a"), Some("key-b")],
    )
    .await;
    // One leaves: the next one does not inherit its key; a stranger in its place gets none.
    check(3, vec![provider("other", "m2", mask())], 200, &[Some("key-b")]).await;
    check(4, vec![provider("third", "m", json!(null))], 200, &[None]).await;
    check(5, vec![provider("third", "m", mask())], 422, &[None]).await;
}
