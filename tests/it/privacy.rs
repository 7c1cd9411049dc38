//! Canaries: values that nobody else has are sent through every door of the platform, by calls that go well and by all that
//! goes wrong, while every process logs as much as it can. Then they are looked for where they must not be.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use ringfleet_tests::audio::Speech;
use ringfleet_tests::desk::{Desk, Reply};
use ringfleet_tests::platform::{FleetServer, Platform, Setup};
use ringfleet_tests::sipp::Sipp;
use ringfleet_tests::subjects::{bot, trunk_with_account};
use ringfleet_tests::wait::until;
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CALL: Duration = Duration::from_secs(120);
const GIVEN_UP: Duration = Duration::from_secs(180);
/// Everything, of our own crates and of those under us.
const LOUD: &str =
    "trace,s3s=trace,s3s_fs=trace,dynoxide=trace,winterbaume=trace,hyper=trace,aws=trace,infra::schema=trace";

/// Without its country code: however it is written, these digits are in it.
const NUMBER: &str = "9812345677";
const NAME: &str = "Zyxquorina";
const FETCHED: &str = "Wobblethorpe";
const PROMPT: &str = "Vexillumine";
const ADMIN_WORDS: &str = "Quillonade";
const PUSH_TOKEN: &str = "canary-push-token-41";
const FETCH_TOKEN: &str = "canary-fetch-token-42";
const MODEL_KEY: &str = "sk-canary-model-key-43";
const TRUNK_PASSWORD: &str = "canary-trunk-password-44";
const SIGNING: &str = "whsec_Q2FuYXJ5U2lnbmluZ1NlY3JldDQ1Q2FuYXJ5";
const WRONG_KEY: &str = "rf_canary_wrong_key_46_canary_wrong_key_46";
/// `dialler:` and the wrong key, as HTTP Basic has them.
const WRONG_BASIC: &str = "ZGlhbGxlcjpyZl9jYW5hcnlfd3Jvbmdfa2V5XzQ2X2NhbmFyeV93cm9uZ19rZXlfNDY=";

struct World {
    platform: Platform,
    fleet: Option<FleetServer>,
    desk: Desk,
    /// Values that must not be anywhere.
    canaries: Vec<String>,
}

impl World {
    async fn start(external: bool) -> Result<Self> {
        let setup = Setup { external, log: Some(LOUD), ..Setup::default() };
        let platform = Platform::start(setup.with(&["periods.retry=[\"1s\"]"])).await?;
        let fleet = if external { Some(platform.fleet_server("loud").await?) } else { None };
        let canaries = [
            NUMBER,
            NAME,
            FETCHED,
            PROMPT,
            ADMIN_WORDS,
            PUSH_TOKEN,
            FETCH_TOKEN,
            MODEL_KEY,
            TRUNK_PASSWORD,
            SIGNING,
            WRONG_KEY,
        ];
        Ok(Self { platform, fleet, desk: Desk::start().await?, canaries: canaries.map(str::to_owned).to_vec() })
    }

    /// Logs of all processes.
    fn logs(&self) -> Vec<(&'static str, String)> {
        let fleet = self.fleet.as_ref().map(|fleet| ("ringfleet-fleet", fleet.log()));
        std::iter::once(("ringfleet", self.platform.log())).chain(fleet).collect()
    }

    fn none_in(&self, place: &str, text: &str) -> Result<()> {
        for canary in &self.canaries {
            if let Some(line) = text.lines().find(|line| line.contains(canary.as_str())) {
                anyhow::bail!("{canary} is in {place}: {line}");
            }
        }
        Ok(())
    }
}

/// A bot that does all that can go wrong with strangers' services, each of which repeats what it got.
fn leaky_bot(world: &World, name: &str, model: bool) -> Value {
    let desk = &world.desk;
    let mut bot = bot(name, name, &desk.url("/echo-push"));
    bot["opening_message"] = json!(format!("Hello {{{{crm.customer_name}}}} of {{{{crm.place}}}}, {ADMIN_WORDS}."));
    bot["system_prompt"] = json!(format!("You are {PROMPT} and talk to {{{{crm.customer_name}}}}."));
    bot["prefetch"] = json!({
        "url": desk.url("/lead/{{crm.customer_name}}?number={{call.caller_id}}"), "token": format!("Bearer {FETCH_TOKEN}"),
        "headers": {"X-Customer": "{{crm.customer_name}}"}
    });
    bot["push"]["token"] = json!(format!("Bearer {PUSH_TOKEN}"));
    bot["push"]["secret"] = json!(SIGNING);
    bot["push"]["key_mapper"] = json!({
        "name": "{{crm.customer_name}}", "number": "{{call.caller_id}}", "said": "{{call.transcript}}", "audio": "{{call.recording_url}}",
        "place": "{{crm.place}}"
    });
    bot["webhook"] = json!({"url": desk.url(&format!("/echo-hook?number={NUMBER}")), "secret": SIGNING});
    bot["post_call_analysis_prompt"] = json!(format!("As {PROMPT}, sum up."));
    if model {
        // The model would be asked for the analysis, too, for minutes.
        bot["post_call_analysis_prompt"] = json!("");
        let service = json!({"vendor": "openai", "model": "m", "base_url": desk.url("/v1"), "api_key": MODEL_KEY});
        bot["llm"] = json!({"providers": [service]});
        if let Some(members) = bot.as_object_mut() {
            members.remove("script");
        }
    }
    bot
}

async fn call(world: &mut World, name: &str, model: bool) -> Result<()> {
    let speech = Speech::silence(4.0).then(&Speech::flite("My favourite animal is the hippopotamus.")?).until(40.0);
    let audio = speech.write_ulaw(&world.platform.folder().join(format!("{name}.ulaw")))?.display().to_string();
    let sipp = Sipp::start("challenge-401", &[("AUDIO", &audio), ("ALGORITHM", "MD5"), ("MS", "14000")])?;
    let api = world.platform.api.clone();
    api.create(&trunk_with_account(name, sipp.port, "acme", TRUNK_PASSWORD), &leaky_bot(world, name, model)).await?;
    let key = api.post("/api/v1/admin/keys", &json!({"name": "client", "role": "client", "bots": [name]})).await?;
    let key = key["key"].as_str().context("no key was minted")?.to_owned();
    world.canaries.push(key.clone());

    let client = api.with_key(&key);
    let body = json!({"bot_id": name, "to_number": format!("+91{NUMBER}"), "variables": {"customer_name": NAME}});
    let placed = client.post("/api/v1/dialout", &body).await?;
    let id = placed["call_id"].as_str().context("no call_id")?.to_owned();
    let result = client.result(&id, CALL).await?;
    // A model that refuses ends its call before the far side does.
    if model {
        sipp.kill().await?
    } else {
        drop(sipp.finish().await?)
    }
    ensure!(result["transcript"].to_string().contains(NAME), "the bot spoke to nobody: {result}");
    for line in result["transcript"].as_array().into_iter().flatten() {
        let words = line["text"].as_str().unwrap_or_default().split(|c: char| !c.is_alphabetic());
        // Shorter ones may be anywhere.
        world.canaries.extend(words.filter(|word| word.len() >= 12).map(str::to_owned));
    }
    let token = result["recording_url"].as_str().and_then(|url| url.split("token=").nth(1));
    world.canaries.push(token.context("no recording")?.to_owned());
    given_up(world, &id).await
}

/// Both deliveries were refused, with an echo of all that they sent, until nobody tried any more.
async fn given_up(world: &World, call: &str) -> Result<()> {
    let shown = until(format!("the deliveries of {call} given up"), GIVEN_UP, || async {
        let shown = world.platform.api.get(&format!("/api/v1/admin/calls/{call}")).await?;
        let all = shown["deliveries"].as_array().cloned().unwrap_or_default();
        let dead = all.iter().filter(|one| one["delivery"]["state"] == "dead").count();
        Ok((dead == 2).then_some(shown))
    })
    .await?;
    // They are kept for those who may see them, and only there.
    ensure!(shown.to_string().contains(NAME), "the echo was not kept: {shown}");
    Ok(())
}

/// Requests that are wrong in every way, with canaries in them; no answer may repeat one.
async fn wrong_requests(world: &World, bot: &str) -> Result<()> {
    let api = &world.platform.api;
    let stranger = api.with_key(WRONG_KEY);
    let plus = format!("+91{NUMBER}");
    let requests = [
        (
            Method::POST,
            "/api/v1/dialout".to_owned(),
            json!({"bot_id": bot, "to_number": format!("{plus}{NUMBER}"), "variables": {"n": NAME}}),
        ),
        (Method::POST, "/api/v1/dialout".to_owned(), json!({"bot_id": bot, "to_number": format!("call {plus}")})),
        (
            Method::POST,
            "/api/v1/dialout".to_owned(),
            json!({"bot_id": bot, "to_number": plus, "from_number": format!("{NAME} {plus}")}),
        ),
        (Method::POST, "/api/v1/dialout".to_owned(), json!({"bot_id": bot, "to_number": plus, "variables": [NAME]})),
        (Method::POST, "/api/v1/dialout".to_owned(), json!({"bot_id": NAME, "to_number": plus})),
        (Method::POST, "/api/v1/dialout".to_owned(), json!([NAME, plus])),
        (Method::GET, format!("/api/v1/calls/{plus}"), Value::Null),
        (Method::GET, format!("/api/v1/recordings/x.wav?token={MODEL_KEY}"), Value::Null),
        (Method::GET, format!("/api/v1/{NAME}?number={NUMBER}"), Value::Null),
        (
            Method::POST,
            "/api/v1/admin/bots".to_owned(),
            json!({"bot_id": "x", "name": [NAME], "system_prompt": PROMPT}),
        ),
        (Method::POST, "/api/v1/admin/bots".to_owned(), json!({"bot_id": "x", "name": "x", "enabled": NAME})),
        (
            Method::POST,
            "/api/v1/admin/bots".to_owned(),
            json!({"bot_id": "x", "name": "x", "push": {"url": "https://x.example", "method": NAME, "token": PUSH_TOKEN, "key_mapper": {}}}),
        ),
        (
            Method::POST,
            "/api/v1/admin/bots".to_owned(),
            json!({"bot_id": "x", "name": "x", "push": {"url": "https://x.example", "token": format!("{PUSH_TOKEN}\n"), "key_mapper": {}}}),
        ),
        (
            Method::POST,
            "/api/v1/admin/trunks".to_owned(),
            json!({"trunk_id": "x", "name": "x", "host": "h", "port": TRUNK_PASSWORD}),
        ),
        (Method::POST, "/api/v1/admin/erase".to_owned(), json!({"number": format!("{plus}{NUMBER}")})),
    ];
    for (method, path, body) in &requests {
        for who in [api, &stranger] {
            let body = (!body.is_null()).then_some(body);
            let (status, answer) = who.settled(method.clone(), path, body).await?;
            ensure!(status.is_client_error(), "{method} {path} {body:?} was answered {status}: {answer}");
            world.none_in(&format!("the answer to {method} {path} {body:?}"), &answer.to_string())?;
        }
    }
    Ok(())
}

/// Diallers whose keys and tokens do not hold, and one whose token does, shown in every place where one may be shown.
async fn knocks(world: &mut World, bot: &str) -> Result<()> {
    let place = world.fleet.as_ref().map_or_else(|| world.platform.ready(), FleetServer::ready)["ws"].as_str();
    let address = place.and_then(|url| url.strip_prefix("ws://")).context("no WebSocket port")?.to_owned();
    let made = world.platform.api.post(&format!("/api/v1/admin/bots/{bot}/connect-tokens"), &json!({})).await?;
    let token = made["token"].as_str().context("no connect token")?.to_owned();
    let wrong_token = format!("{token}canary");
    world.canaries.push(token.clone());
    world.canaries.push(WRONG_BASIC.to_owned());
    for (query, header) in [
        (format!("?key={WRONG_KEY}"), String::new()),
        (format!("?token={wrong_token}"), format!("X-API-Key: {WRONG_KEY}\r\n")),
        (String::new(), format!("Authorization: Bearer {WRONG_KEY}\r\n")),
        (String::new(), format!("Authorization: Basic {WRONG_BASIC}\r\n")),
        (format!("?token={token}&dialect=native"), String::new()),
        (format!("?dialect={NUMBER}&token={token}"), String::new()),
    ] {
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                       dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let request = format!("GET /ws/{bot}{query} HTTP/1.1\r\nHost: {address}\r\n{upgrade}{header}\r\n");
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut first = [0; 4096];
        let read = stream.read(&mut first).await?;
        let answer = String::from_utf8_lossy(&first[..read]).into_owned();
        let welcome = query.ends_with("native");
        ensure!(answer.starts_with(if welcome { "HTTP/1.1 101" } else { "HTTP/1.1 4" }), "{request}: {answer}");
        // Whoever wrote a wrong parameter may read it again, a credential never.
        let secrets = [token.as_str(), WRONG_KEY, WRONG_BASIC];
        ensure!(!secrets.iter().any(|secret| answer.contains(secret)), "{request}: {answer}");
    }
    Ok(())
}

/// What is scraped, and what lies in the queues of dead letters.
async fn metrics(world: &World) -> Result<()> {
    let place = match &world.fleet {
        Some(fleet) => fleet.ready()["http"].as_str(),
        None => world.platform.ready()["fleet_http"].as_str(),
    };
    let url = format!("{}/metrics", place.context("no private port")?);
    let text = String::from_utf8_lossy(&world.platform.api.fetch(&url).await?).into_owned();
    ensure!(text.contains("ringfleet_calls_ended_total"), "no metrics: {text}");
    world.none_in("the metrics", &text)
}

/// The row keeps its times; all else of the person is gone, also from the disk.
async fn erased(world: &World) -> Result<()> {
    let body = json!({"number": format!("0{NUMBER}"), "country": "IN"});
    let done = world.platform.api.post("/api/v1/admin/erase", &body).await?;
    ensure!(done["calls"].as_u64() >= Some(2) && done["unfinished"] == 0 && done["done"] == true, "{done}");
    let again = world.platform.api.post("/api/v1/admin/erase", &body).await?;
    ensure!(again["calls"] == 0, "{again}");
    let mut files = Vec::new();
    walk(&world.platform.folder().join("data"), &mut files)?;
    let left: Vec<_> = files
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "calls"))
        .filter(|path| std::fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(NAME)))
        .collect();
    ensure!(left.is_empty(), "objects of erased calls: {left:?}");
    Ok(())
}

fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

async fn run(external: bool) -> Result<()> {
    let mut world = World::start(external).await?;
    for path in ["/echo-push", "/echo-hook"] {
        world.desk.replies(path, Reply::Echo(500));
    }
    world.desk.replies("/v1/chat/completions", Reply::Echo(401));
    world.desk.replies(&format!("/lead/{NAME}"), Reply::Json(json!({"place": FETCHED}).to_string()));
    call(&mut world, "scripted", false).await?;
    // The second bot's pre-fetch fails, with an echo.
    world.desk.replies(&format!("/lead/{NAME}"), Reply::Echo(502));
    call(&mut world, "modelled", true).await?;
    ensure!(!world.desk.asked("/v1/chat/completions").is_empty(), "the model was not asked");
    wrong_requests(&world, "scripted").await?;
    knocks(&mut world, "scripted").await?;
    metrics(&world).await?;
    erased(&world).await?;
    if let Some(fleet) = &mut world.fleet {
        fleet.stop().await?;
    }
    world.platform.stop().await?;
    for (process, log) in world.logs() {
        // Of what is under us, at least what it says by itself.
        ensure!(log.contains("\"DEBUG\"") || log.contains("aws_config::"), "{process} was not loud");
        world.none_in(&format!("the log of {process}"), &log)?;
    }
    Ok(())
}

async fn check(name: &str, external: bool) {
    if !tools::can_run(name, &["sipp", "flite"]) || !tools::can_hear(name) {
        return;
    }
    let _turn = gate::whole().await;
    run(external).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_personal_or_secret_leaks_out_of_the_platform() {
    check("nothing_personal_or_secret_leaks_out_of_the_platform", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_personal_or_secret_leaks_out_of_a_fleet_server() {
    check("nothing_personal_or_secret_leaks_out_of_a_fleet_server", true).await;
}

/// Files below `folder` that hold the name or a recording.
fn remains(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    files.retain(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.starts_with(b"RIFF") || String::from_utf8_lossy(&bytes).contains(NAME)
    });
    Ok(files)
}

/// The call ends while nobody can be told; its server dies with all of it on its disk. Somebody else ends it, the customer
/// is erased, and then the server comes back.
async fn late() -> Result<()> {
    let mut platform = Platform::start(Setup { external: true, deaf: true, ..Setup::default() }).await?;
    let desk = Desk::start().await?;
    desk.replies("/push", Reply::Json("{}".to_owned()));
    let mut server = platform.fleet_server("late").await?;
    let audio = Speech::silence(60.0).write_ulaw(&platform.folder().join("silence.ulaw"))?.display().to_string();
    let sipp = Sipp::start("talk-until-bye", &[("AUDIO", &audio)])?;
    let mut bot = bot("bot", "line", &desk.url("/push"));
    bot["push"]["key_mapper"] = json!({"name": "{{crm.customer_name}}"});
    platform.api.create(&trunk_with_account("line", sipp.port, "acme", TRUNK_PASSWORD), &bot).await?;
    let body = json!({"bot_id": "bot", "to_number": format!("+91{NUMBER}"), "variables": {"customer_name": NAME}});
    let placed = platform.api.post("/api/v1/dialout", &body).await?;
    let id = placed["call_id"].as_str().context("no call_id")?.to_owned();
    platform.api.reached(&id, "answered", CALL).await?;
    platform.kill().await?;

    // A bot that hears nobody says so and hangs up.
    let spool = FleetServer::spool_of(&platform, "late");
    let ended = spool.join(format!("{id}.ended.json"));
    until("the call's end in the spool", CALL, || async { Ok(ended.exists().then_some(())) }).await?;
    server.kill().await?;
    sipp.kill().await?;
    ensure!(!remains(&spool)?.is_empty(), "nothing is left on the server's disk");

    platform.again().await?;
    let result = platform.api.result(&id, CALL).await?;
    ensure!(result["end_reason"] == "server_lost", "{result}");
    let api = platform.api.clone();
    let erase = json!({"number": format!("+91{NUMBER}")});
    until("the call's erasure", GIVEN_UP, || async {
        Ok((api.post("/api/v1/admin/erase", &erase).await?["calls"] == 1).then_some(()))
    })
    .await?;
    let mut server = platform.fleet_server_again(server).await?;
    until("the spool's emptying", CALL, || async { Ok((!ended.exists()).then_some(())) }).await?;
    server.stop().await?;
    ensure!(remains(&spool)?.is_empty(), "on the server's disk: {:?}", remains(&spool)?);
    let result = platform.api.call(&id).await?;
    ensure!(result["erased_at"].is_string() && result["caller_id"] == "erased", "{result}");
    ensure!(result["transcript"] == json!([]) && result["variables"] == json!({}), "{result}");
    let bucket = remains(&platform.folder().join("data"))?;
    let objects: Vec<_> = bucket.iter().filter(|path| path.to_string_lossy().contains(&id)).collect();
    ensure!(objects.is_empty(), "objects of an erased call: {objects:?}");
    platform.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_does_not_come_back_with_a_late_server() {
    if !tools::can_run("what_was_erased_does_not_come_back_with_a_late_server", &["sipp", "flite"]) {
        return;
    }
    let _turn = gate::part().await;
    late().await.unwrap();
}
