//! Connect tokens as an admin gets them: what may be asked, what stands in the answer, where the URL leads.

use domain::bot::Bot;
use domain::connect_token::{self, TokenError};
use domain::ids::BotId;
use serde_json::{Value, json};

use super::{get, send, world};
use crate::testing::{World, request};

const PATH: &str = "bots/b1/connect-tokens";

async fn judged(world: &World, bot: &str, token: &str) -> Result<(), TokenError> {
    let platform = world.platform();
    let bot: Bot = platform.tables.bots.get(&BotId::parse(bot).unwrap()).await.unwrap().unwrap();
    let secrets = platform.outside.secrets.fleet().await.unwrap();
    connect_token::verify(&secrets, token, &bot, world.now()).map(|_| ())
}

#[tokio::test]
async fn a_token_opens_one_bot_until_it_expires_or_is_taken_back() {
    let (world, app) = world();
    world.bot("b1", json!({}));
    world.bot("b2", json!({}));
    let made = send(&app, "POST", PATH, None, &json!({"expires_in_seconds": 60, "name": "Dialler"})).await;
    assert_eq!((made.status, made.header("cache-control").as_str()), (201, "no-store"), "{}", made.json());
    let made = made.json();
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("rfc_") && made["token_id"].as_str().unwrap().starts_with("ct_"), "{made}");
    assert_eq!((made["expires_at"].clone(), made["name"].clone()), (json!("2026-01-05T12:01:00Z"), json!("Dialler")));
    assert_eq!(made["url"], Value::Null, "nobody has said where a WebSocket port is");
    assert_eq!(judged(&world, "b1", token).await, Ok(()));
    assert_eq!(judged(&world, "b2", token).await, Err(TokenError::OtherBot));

    let mut bot = get(&app, "bots/b1").await.json();
    bot["websocket"]["tokens_after"] = json!("2026-01-05T12:00:00.001Z");
    assert_eq!(send(&app, "PUT", "bots/b1", Some("\"1\""), &bot).await.status, 200);
    assert_eq!(judged(&world, "b1", token).await, Err(TokenError::TakenBack));
    world.advance(std::time::Duration::from_secs(1));
    let later = send(&app, "POST", PATH, None, &json!({})).await.json();
    assert_eq!(judged(&world, "b1", later["token"].as_str().unwrap()).await, Ok(()));
    assert_eq!(later["expires_at"], "2026-01-05T13:00:01Z");
    world.advance(std::time::Duration::from_secs(3600));
    assert_eq!(judged(&world, "b1", later["token"].as_str().unwrap()).await, Err(TokenError::Expired));
}

#[tokio::test]
async fn the_url_leads_to_the_fleets_name_or_to_a_server_that_is_alive() {
    let (world, app) = world();
    world.bot("b1", json!({}));
    let url = async |app: &axum::Router| {
        let made = send(app, "POST", PATH, None, &json!({})).await.json();
        made["url"].as_str().map(|url| url.replace(made["token"].as_str().unwrap(), "TOKEN"))
    };
    world.server("a", |row| row.ws_url = "ws://10.0.0.1:8091".into());
    world.server("b", |row| row.ws_url = "ws://10.0.0.2:8091/".into());
    assert_eq!(url(&app).await.as_deref(), Some("ws://10.0.0.1:8091/ws/b1?token=TOKEN"));
    world.server("a", |row| (row.draining, row.ws_url) = (true, "ws://10.0.0.1:8091".into()));
    assert_eq!(url(&app).await.as_deref(), Some("ws://10.0.0.2:8091/ws/b1?token=TOKEN"));
    world.set(|settings| settings.ws_public_url = Some("wss://calls.example.com".into()));
    let app = super::super::router(world.desk());
    assert_eq!(url(&app).await.as_deref(), Some("wss://calls.example.com/ws/b1?token=TOKEN"));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_said() {
    let (world, app) = world();
    world.bot("b1", json!({}));
    let check = async |path: &str, body: &str, status: u16, place: &str| {
        let path = format!("/api/v1/admin/{path}");
        let answer = request(&app, "POST", &path, super::ADMIN, &[], body.to_owned()).await;
        let told = answer.json();
        assert_eq!(answer.status, status, "{body}: {told}");
        if status == 422 {
            let loc: Vec<String> = serde_json::from_value(told["errors"][0]["loc"].clone()).unwrap();
            assert_eq!(loc.join("."), place, "{body}: {told}");
        }
        assert!(!told.to_string().contains("rfc_") || status == 201, "{told}");
    };
    check(PATH, "", 201, "").await;
    check(PATH, "{}", 201, "").await;
    check(PATH, r#"{"expires_in_seconds": 60}"#, 201, "").await;
    check(PATH, r#"{"expires_in_seconds": 31536000, "name": null}"#, 201, "").await;
    let expires = "body.expires_in_seconds";
    for bad in ["59", "0", "-1", "31536001", "9223372036854775807", "1e9", "60.5", "\"60\"", "null", "[]", "true"] {
        check(PATH, &format!(r#"{{"expires_in_seconds": {bad}}}"#), 422, expires).await;
    }
    check(PATH, r#"{"name": ""}"#, 422, "body.name").await;
    check(PATH, r#"{"name": "   "}"#, 422, "body.name").await;
    check(PATH, &format!(r#"{{"name": "{}"}}"#, "x".repeat(101)), 422, "body.name").await;
    check(PATH, r#"{"name": 5}"#, 422, "body.name").await;
    check(PATH, r#"{"expires": 60}"#, 422, "body.expires").await;
    check(PATH, r#"{"name": "a", "name": "b"}"#, 422, "body").await;
    for broken in ["[]", "null", "\"x\"", "{", "{}{}", "\u{feff}{}"] {
        check(PATH, broken, 422, "body").await;
    }
    check("bots/nobody/connect-tokens", "{}", 404, "").await;
    check("bots/not%20an%20id/connect-tokens", "{}", 404, "").await;
    let path = format!("/api/v1/admin/{PATH}");
    assert_eq!(request(&app, "POST", &path, Some("sk_test_client"), &[], "{}").await.status, 403);
    assert_eq!(request(&app, "POST", &path, None, &[], "{}").await.status, 401);
}
