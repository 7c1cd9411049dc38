//! `ringfleet call`: one call from the terminal over a trunk that is there for this call only.
//! It must never leave that trunk, or a copy of a bot, behind; and never tell a CRM about a call of somebody else's bot.

mod target;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use domain::ports::Entropy;
use infra::clock::OsEntropy;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{Api, read_object};
use super::flags::SettingsFlags;
use super::up::Signals;
use super::{init_telemetry, note, say};
use crate::platform::Platform;
use crate::settings::Settings;
use target::Target;

const BOTS: &str = "/api/v1/admin/bots";
const TRUNKS: &str = "/api/v1/admin/trunks";
/// After the result is there, nothing of a platform of our own is worth more waiting.
const LAST_PUSHES: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Args)]
pub(super) struct CallArgs {
    /// The bot: a JSON file, or with --url the id of one that is there
    #[arg(long, value_name = "FILE|ID")]
    bot: String,
    /// Whom to call: sip:NUMBER@HOST[:PORT]
    #[arg(long, value_name = "SIP-URI")]
    to: String,
    /// The number that is shown to the customer
    #[arg(long, value_name = "NUMBER", default_value = "ringfleet")]
    from: String,
    /// A field of the customer, {{crm.NAME}} in the bot's texts
    #[arg(long = "var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Digest user name, if the far side asks for one
    #[arg(long, value_name = "TEXT", requires = "password")]
    username: Option<String>,
    /// Digest password; better in the environment than on the command line
    #[arg(long, value_name = "TEXT", env = "RINGFLEET_SIP_PASSWORD", hide_env_values = true)]
    password: Option<SecretString>,
    /// Where to put the recording
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// A running platform's API, instead of a platform for this call only
    #[arg(long, value_name = "URL", requires = "key")]
    url: Option<String>,
    /// An admin key for --url; better in the environment than on the command line
    #[arg(long, value_name = "KEY", env = "RINGFLEET_ADMIN_KEY", hide_env_values = true)]
    key: Option<SecretString>,
    #[command(flatten)]
    settings: SettingsFlags,
}

pub(super) async fn run(args: CallArgs) -> Result<ExitCode> {
    let settings = args.settings.load()?;
    init_telemetry(&settings.telemetry)?;
    let target: Target = args.to.parse()?;
    match (&args.url, &args.key) {
        (Some(url), Some(key)) => there(&args, &Api::new(url, key.clone())?, &target).await,
        _ => here(&args, settings, &target).await,
    }
}

/// On a platform for this call only.
async fn here(args: &CallArgs, settings: Settings, target: &Target) -> Result<ExitCode> {
    if !Path::new(&args.bot).is_file() {
        bail!("there is no file {}: name a bot's JSON file, or a platform that has the bot with --url", args.bot);
    }
    let mut bot = read_object(Path::new(&args.bot))?;
    let folder = tempfile::tempdir().context("a temporary data folder cannot be made")?;
    let chosen = args.settings.chooses_sip(&settings);
    let mut settings = settings.aside(folder.path());
    settings.admin_key = None;
    if !chosen {
        settings.fleet.sip = SocketAddr::new(target.source_address().await?, 0);
    }
    let platform = Platform::start(settings).await?;
    for warning in platform.speech().lines().filter(|line| line.starts_with("warning")) {
        note(warning);
    }
    let key = platform.ready().admin_key.clone().context("a new platform has minted no key")?;
    let api = Api::new(&platform.ready().http, key.into())?;
    let trunk = trunk(args, target);
    prepare(&mut bot, "terminal", &trunk);
    let done = async {
        api.put(TRUNKS, "terminal", &trunk).await?;
        let id = bot["bot_id"].as_str().unwrap_or_default().to_owned();
        api.put(BOTS, &id, &bot).await?;
        place_and_watch(args, &api, &id, target).await
    };
    let code = done.await;
    let force = CancellationToken::new();
    let forcing = force.clone();
    let limit = tokio::spawn(async move {
        tokio::time::sleep(LAST_PUSHES).await;
        forcing.cancel();
    });
    platform.stop(force).await;
    limit.abort();
    code
}

/// On a running platform, with a trunk and a bot that are taken away again.
async fn there(args: &CallArgs, api: &Api, target: &Target) -> Result<ExitCode> {
    let mut random = [0; 4];
    OsEntropy.fill(&mut random);
    let id = format!("terminal-{}", hex::encode(random));
    let mut bot = if Path::new(&args.bot).is_file() {
        read_object(Path::new(&args.bot))?
    } else {
        let found = api.find(&format!("{BOTS}/{}", args.bot)).await?;
        borrowed(found.with_context(|| format!("there is neither a file nor a bot {}", args.bot))?.body)
    };
    let mut trunk = trunk(args, target);
    trunk["trunk_id"] = json!(id);
    bot["bot_id"] = json!(id);
    prepare(&mut bot, &id, &trunk);
    let done = async {
        api.put(TRUNKS, &id, &trunk).await?;
        api.put(BOTS, &id, &bot).await?;
        place_and_watch(args, api, &id, target).await
    };
    let code = done.await;
    for collection in [BOTS, TRUNKS] {
        if let Err(error) = api.delete(&format!("{collection}/{id}")).await {
            note(&format!("{collection}/{id} is left behind: {error:#}"));
        }
    }
    code
}

fn trunk(args: &CallArgs, target: &Target) -> Value {
    let mut trunk = json!({
        "trunk_id": "terminal",
        "name": "ringfleet call",
        "host": target.host,
        "port": target.port,
        "to_user": target.user,
        "default_number": args.from,
    });
    if let (Some(username), Some(password)) = (&args.username, &args.password) {
        trunk["username"] = json!(username);
        trunk["password"] = json!(password.expose_secret());
    }
    trunk
}

/// Lets a bot call over the trunk, at any hour, and over nothing else.
fn prepare(bot: &mut Value, default_id: &str, trunk: &Value) {
    if bot["bot_id"].as_str().is_none() {
        bot["bot_id"] = json!(default_id);
    }
    bot["trunk_ids"] = json!([trunk["trunk_id"]]);
    if let Some(members) = bot.as_object_mut() {
        for member in ["numbers", "active_hours", "version", "warnings"] {
            members.remove(member);
        }
    }
}

/// A copy of somebody's bot: it tells no CRM, and has no secrets, which are never shown.
fn borrowed(mut bot: Value) -> Value {
    if let Some(members) = bot.as_object_mut() {
        members.remove("push");
        members.remove("webhook");
    }
    unmask(&mut bot);
    bot
}

fn unmask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| member.as_str() != Some(domain::secret::MASK));
            members.values_mut().for_each(unmask);
        }
        Value::Array(items) => items.iter_mut().for_each(unmask),
        _ => {}
    }
}

fn variables(args: &CallArgs) -> Result<Map<String, Value>> {
    let pairs = args.variables.iter().map(|pair| {
        let (name, value) = pair.split_once('=').with_context(|| format!("--var {pair}: write NAME=VALUE"))?;
        Ok((name.to_owned(), json!(value)))
    });
    pairs.collect()
}

async fn place_and_watch(args: &CallArgs, api: &Api, bot: &str, target: &Target) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    if let Some(instead) = target.stand_in() {
        note(&format!("`{}` is no phone number: the call's result will name {instead} in its place", target.user));
    }
    let asked = json!({"bot_id": bot, "to_number": target.number(), "variables": variables(args)?});
    let placed = api.post("/api/v1/dialout", &asked).await?;
    let call = placed.body["call_id"].as_str().context("the platform named no call")?.to_owned();
    let result = watch::until_told(api, &call, &mut signals).await?;
    if let Some(path) = &args.wav {
        watch::save_recording(&result, path).await?;
        note(&format!("recording: {}", path.display()));
    }
    say(&if args.json { result.to_string() } else { watch::page(&result) });
    let answered = result["answered_at"].is_string() && result["disconnected_by"] != "error";
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The address of this machine from which `to` is reached; sends nothing.
async fn source_address(to: SocketAddr) -> Result<IpAddr> {
    let any = SocketAddr::new(if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) }, 0);
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(to).await.with_context(|| format!("{to} cannot be reached from this machine"))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_borrowed_bot_keeps_no_secrets_and_tells_no_crm() {
        let mut bot = borrowed(json!({
            "bot_id": "a", "name": "A", "version": 3, "numbers": ["+911"], "push": {"url": "https://crm"}, "webhook": {"url": "u"},
            "llm": {"providers": [{"vendor": "openai", "model": "m", "api_key": "***"}]}, "prefetch": {"url": "u", "token": "***"},
        }));
        prepare(&mut bot, "terminal", &json!({"trunk_id": "t"}));
        assert_eq!(
            bot,
            json!({"bot_id": "a", "name": "A", "llm": {"providers": [{"vendor": "openai", "model": "m"}]},
                "prefetch": {"url": "u"}, "trunk_ids": ["t"]})
        );
        let mut nameless = json!({"name": "A"});
        prepare(&mut nameless, "terminal", &json!({"trunk_id": "t"}));
        assert_eq!(nameless["bot_id"], "terminal");
    }
}
