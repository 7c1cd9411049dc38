//! Two fleet servers with one slot each: whichever a dialler comes to, it is let in while either has room.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::fleet::server;
use super::process::{Running, World, within};
use super::websocket::{GUIDE, Refused, Socket, connect};

async fn one_slot(world: &World, platform: &Running, id: &str) -> Running {
    let mut command = server(world, platform, id);
    command.args(["--max-calls", "1"]);
    Running::start(command).await
}

#[tokio::test]
async fn a_full_server_hands_a_dialler_to_one_with_room() {
    let world = World::new();
    let platform = world.up(&["--fleet", "external"]).await;
    let admin = platform.admin();
    admin.create_bot(9, json!({})).await;
    let (one, two) = (one_slot(&world, &platform, "one").await, one_slot(&world, &platform, "two").await);
    let (_, made) = admin.send("POST", "/api/v1/admin/bots/b/connect-tokens", Some(json!({}))).await;
    let token = made["token"].as_str().unwrap();
    let path = format!("/ws/b?token={token}&dialect=native");
    let dial = async |server: &Running| -> Result<Socket, Refused> { connect(server, &path, &[]).await };

    let mut first = dial(&one).await.unwrap();
    // The first server sees of the second with one of its next heartbeats; until then it knows of nobody with room.
    let mut second = within(async {
        loop {
            match dial(&one).await {
                Ok(socket) => return socket,
                Err(refused) => assert_eq!((refused.status, &refused.body["code"]), (503, &json!("no_capacity"))),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for server in [&one, &two] {
        let refused = dial(server).await.expect_err("every slot is taken");
        assert_eq!((refused.status, refused.retry_after), (503, Some(5)), "{refused:?}");
    }
    // What comes through the tunnel is a call on the second server, of the token that the first one judged.
    second.send(Message::text(GUIDE)).await.unwrap();
    let calls = admin.until("/api/v1/calls?bot_id=b", |calls| calls["items"].as_array().unwrap().len() == 1).await;
    let id = calls["items"][0]["session_id"].as_str().unwrap();
    let (_, call) = admin.get(&format!("/api/v1/admin/calls/{id}")).await;
    assert!(call.to_string().contains(made["token_id"].as_str().unwrap()), "{call}");
    let fleet = admin.until("/api/v1/admin/fleet", |fleet| fleet["sums"]["calls"] == 2).await;
    assert_eq!(fleet["sums"]["free"], 0, "{fleet}");
    second.close(None).await.unwrap();
    first.close(None).await.unwrap();
    admin.until("/api/v1/admin/fleet", |fleet| fleet["sums"]["free"] == 2).await;
}
