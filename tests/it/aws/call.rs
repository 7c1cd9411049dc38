//! A call through the deployed template: API → function → fleet server → carrier → result → queue → `analyze` → `push` →
//! CRM. The fleet server is a process that knows only AWS endpoints, and may do what the template's fleet policy allows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use ringfleet_tests::api::Api;
use ringfleet_tests::aws::{Emulator, Server, Stack, Tools, built_template};
use ringfleet_tests::carrier::{Callee, Carrier};
use ringfleet_tests::crm::{Answer, Crm};
use ringfleet_tests::subjects::{VARIABLES, bot};
use ringfleet_tests::tools::note;
use ringfleet_tests::wait::until;
use ringfleet_tests::wav::Wav;
use ringfleet_tests::{gate, tools};
use serde_json::{Value, json};

use super::recorded;

const STACK: &str = "rf-e2e";
const DOMAIN: &str = "api.ringfleet.test";
const CALL: Duration = Duration::from_secs(90);
/// Through two queues and a retry.
const PUSH: Duration = Duration::from_secs(120);
/// The authorizer's answers are kept for 30 s.
const REVOKED: Duration = Duration::from_secs(120);
/// A schedule of a minute, and a server that is silent for as long as the deployment says.
const REAPED: Duration = Duration::from_secs(240);

/// The deployment that the test is about: its functions may reach this machine, and find a lost server soon.
const PARAMETERS: &[&str] = &[
    "Architecture=x86_64",
    "AddressRateLimit=0",
    "DomainName=api.ringfleet.test",
    "CertificateArn=arn:aws:acm:eu-central-1:000000000000:certificate/emulated",
    "EgressAllowHttp=true",
    "EgressAllowCidrs=127.0.0.0/8",
    "ReapEvery=2s",
    "ReapStale=6s",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs what tests/run --aws installs and builds"]
async fn a_call_goes_through_the_deployed_template() {
    assert!(tools::can_run("aws", &["sipp"]));
    let _turn = gate::whole().await;
    run().await.unwrap();
}

/// Everything that runs, and the admin's client.
struct World {
    stack: Stack,
    server: Server,
    carrier: Carrier,
    crm: Crm,
    admin: Api,
}

async fn run() -> Result<()> {
    let tools = Tools::find()?;
    let emulator = Emulator::start_with_tls(&tools, &[DOMAIN]).await?;
    let done = deployed(&tools, &emulator).await;
    if done.is_err() {
        note(&format!("--- MiniStack said:\n{}\n---", emulator.log()));
    }
    emulator.stop().await?;
    done
}

async fn deployed(tools: &Tools, emulator: &Emulator) -> Result<()> {
    let stack = Stack::deploy(tools, emulator, &built_template()?, STACK, PARAMETERS).await?;
    ensure!(stack.output("ApiUrl")? == format!("https://{DOMAIN}"), "{}", stack.output("ApiUrl")?);
    note("SAID by the run: AddressRateLimit=0, since MiniStack's CloudFormation knows no WebACLAssociation");
    let key = initialised(&stack).await?;
    let world = World {
        server: Server::start(&stack, "alpha").await?,
        admin: stack.by_domain(DOMAIN, &key)?,
        carrier: Carrier::start()?,
        crm: Crm::start().await?,
        stack,
    };
    recorded::events_are_answered(tools, &world.stack, &key).await?;
    world.refuses_strangers().await?;
    world.is_reached_in_both_ways(&key).await?;
    world.places_a_call().await?;
    world.forgets_a_revoked_key().await?;
    world.loses_a_server().await
}

/// `ringfleet deployment init`: once it fills the secrets and mints the admin key, and again it changes nothing.
async fn initialised(stack: &Stack) -> Result<String> {
    let init = ["deployment", "init", "--stack", stack.name(), "--json"];
    let first = stack.ringfleet(&init).await?;
    ensure!(first["filled"] == true && first["ok"] == true, "{first}");
    let again = stack.ringfleet(&init).await?;
    ensure!(again["filled"] == false && again["admin_key"].is_null(), "{again}");
    let check = stack.ringfleet(&["deployment", "check", "--stack", stack.name(), "--json"]).await?;
    ensure!(check["ok"] == true, "{check}");
    Ok(first["admin_key"].as_str().context("no admin key was minted")?.to_owned())
}

/// Holds an answer against RFC 9457 and the code of the API's own description.
fn problem(answer: (StatusCode, Value), status: u16, code: &str) -> Result<()> {
    let (got, body) = answer;
    ensure!(got == status && body["status"] == status && body["code"] == code, "not {status} {code} but {got}: {body}");
    Ok(())
}

impl World {
    async fn refuses_strangers(&self) -> Result<()> {
        let nobody = self.admin.without_key();
        problem(nobody.ask(Method::GET, "/api/v1/admin/bots", None).await?, 401, "unauthorized")?;
        let wrong = self.admin.with_key("rf_this_key_was_never_minted_by_anybody");
        problem(wrong.ask(Method::GET, "/api/v1/admin/bots", None).await?, 401, "unauthorized")?;
        problem(self.admin.ask(Method::GET, "/api/v2/anything", None).await?, 404, "not_found")?;
        // The gateway lets every method through: the function says which ones there are.
        problem(self.admin.ask(Method::DELETE, "/api/v1/dialout", None).await?, 405, "method_not_allowed")?;
        let by_stage = self.stack.by_stage("")?;
        for open in ["/health", "/openapi.json"] {
            let (status, body) = by_stage.ask(Method::GET, open, None).await?;
            ensure!(status == 200 && body["services"].is_null(), "{open} answered {status}: {body}");
        }
        Ok(())
    }

    /// By its own domain, and by the stage's address with the stage in the path; the fleet is seen by both.
    async fn is_reached_in_both_ways(&self, key: &str) -> Result<()> {
        for api in [&self.admin, &self.stack.by_stage(key)?] {
            until("the server in /health/fleet", CALL, || async {
                let health = api.get("/health/fleet").await?;
                let workers = health["workers"].as_array().cloned().unwrap_or_default();
                Ok(workers.iter().any(|worker| worker["id"] == self.server.id()).then_some(()))
            })
            .await?;
            let bots = api.get("/api/v1/admin/bots").await?;
            ensure!(bots["items"] == json!([]), "{bots}");
        }
        Ok(())
    }

    /// Milestones A and B: the mapped body comes to the CRM, signed, the second time that it is tried.
    async fn places_a_call(&self) -> Result<()> {
        let bot = bot("talks", "talks", &self.crm.url("/lead"));
        let stored = self.admin.create(&self.carrier.trunk(Callee::Talks)?, &bot).await?;
        self.crm.script("/lead", &[Answer::Status(503)]);
        let call = self.admin.dialout("talks", VARIABLES).await?;
        let result = self.admin.result(&call, CALL).await?;
        ensure!(result["end_reason"] == "customer_hangup" && result["recording_status"] == "complete", "{result}");
        let push = self.crm.delivered("/lead", PUSH).await?;
        push.verify(stored["push"]["secret"].as_str().context("no secret")?)?;
        let body = push.json()?;
        for (name, wanted) in [
            ("greeting", json!("Dear Asha Rao!")),
            ("session", json!(call)),
            ("number", json!("+919876543210")),
            ("ended_by", json!("customer")),
            ("why", json!("customer_hangup")),
            ("audio", result["recording_url"].clone()),
            ("source", json!({"kind": 7, "tags": ["Asha Rao", true]})),
        ] {
            ensure!(body[name] == wanted, "{name} is {} and not {wanted}", body[name]);
        }
        ensure!(push.body.windows(24).any(|part| part == b"123456789012345678901234"), "the lead's id was changed");
        ensure!(self.crm.pushes("/lead").len() == 2, "{} tries", self.crm.pushes("/lead").len());
        self.plays(&result).await?;
        ensure!(self.stack.dead_letters().await? == 0, "there are dead letters");
        Ok(())
    }

    /// The URL that the CRM was given leads over the API to the bucket, and needs no key.
    async fn plays(&self, result: &Value) -> Result<()> {
        let told = result["recording_url"].as_str().context("no recording_url")?;
        let told = told.strip_prefix(&format!("https://{DOMAIN}")).with_context(|| format!("{told} is elsewhere"))?;
        let audio = self.admin.fetch(&format!("{}{told}", self.stack.url_of(DOMAIN))).await?;
        let wav = Wav::read(&audio)?;
        ensure!(wav.seconds() > 3.0, "{} s were recorded of five", wav.seconds());
        Ok(())
    }

    /// A revoked key is refused at the latest when the authorizer's answer is forgotten; and every function looks it up
    /// itself, so that here it is at once.
    async fn forgets_a_revoked_key(&self) -> Result<()> {
        let new = json!({"name": "short-lived", "role": "admin", "bots": ["*"]});
        let minted = self.admin.post("/api/v1/admin/keys", &new).await?;
        let short = self.admin.with_key(minted["key"].as_str().context("no key")?);
        short.get("/api/v1/admin/bots").await?;
        let path = format!("/api/v1/admin/keys/{}", minted["key_id"].as_str().context("no key_id")?);
        self.admin.replace(&path, |key| key["active"] = json!(false)).await?;
        until("the revoked key is refused", REVOKED, || async {
            let (status, _) = short.ask(Method::GET, "/api/v1/admin/bots", None).await?;
            Ok((status == StatusCode::UNAUTHORIZED).then_some(()))
        })
        .await?;
        problem(short.ask(Method::GET, "/api/v1/admin/bots", None).await?, 401, "unauthorized")
    }

    /// The server dies in a call: nobody but the schedule of `reap` can tell.
    async fn loses_a_server(mut self) -> Result<()> {
        let bot = bot("stays", "stays", &self.crm.url("/lost"));
        self.admin.create(&self.carrier.trunk(Callee::Stays)?, &bot).await?;
        let call = self.admin.dialout("stays", VARIABLES).await?;
        self.admin.reached(&call, "answered", CALL).await?;
        self.server.kill().await?;
        let result = self.admin.result(&call, REAPED).await?;
        ensure!(result["end_reason"] == "server_lost", "{result}");
        let push = self.crm.delivered("/lost", PUSH).await?;
        ensure!(push.json()?["why"] == "server_lost", "{:?}", push.body);
        self.carrier.stop().await
    }
}
