//! Where an entity is that was made: found from the address of the request, wherever clients find the platform.

use serde_json::{Value, json};
use url::Url;

use super::{ADMIN, bot, get, send, trunk, world};
use crate::testing::{ADDRESSES, request, resolved};

#[tokio::test]
async fn what_was_made_is_where_its_location_says_below_any_address() {
    let (_, app) = world();
    let named = |mut body: Value, member: &str, id: &str| {
        body[member] = json!(id);
        body
    };
    let key = json!({"name": "CRM", "bots": ["b1"]});
    for (list, member, body) in [
        ("bots", "bot_id", bot()),
        ("bots", "bot_id", named(bot(), "bot_id", "_..-")),
        ("bots", "bot_id", named(bot(), "bot_id", "bots")),
        ("trunks", "trunk_id", trunk()),
        ("trunks", "trunk_id", named(trunk(), "trunk_id", "2.a_b-c")),
        ("keys", "key_id", key.clone()),
        ("keys", "key_id", key),
    ] {
        let made = send(&app, "POST", list, None, &body).await;
        let (location, made) = (made.header("location"), made.json());
        assert!(made[member].is_string(), "{made}");
        for base in ADDRESSES {
            let asked = Url::parse(&format!("{base}/api/v1/admin/{list}")).unwrap();
            let (url, path) = resolved(base, &asked, &location);
            let found = request(&app, "GET", &path, ADMIN, &[], "").await;
            assert_eq!((found.status, found.json()[member].clone()), (200, made[member].clone()), "{url}");
        }
    }
}

#[tokio::test]
async fn only_what_was_made_has_a_location() {
    let (_, app) = world();
    let body = bot();
    send(&app, "POST", "bots", None, &body).await;
    let again = send(&app, "POST", "bots", None, &body).await;
    let replaced = send(&app, "PUT", "bots/b1", Some("\"1\""), &body).await;
    let read = get(&app, "bots/b1").await;
    for (answer, status) in [(again, 409), (replaced, 200), (read, 200)] {
        assert_eq!((answer.status, answer.header("location").as_str()), (status, ""));
    }
}
