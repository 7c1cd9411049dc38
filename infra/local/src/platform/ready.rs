//! What a started platform tells: one JSON line for programs, a page for people.
//! It must never show a secret but the admin key, and that only when it was minted by this very start.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use serde::Serialize;

/// Everything that somebody needs to use the platform.
#[derive(Clone, Serialize)]
pub struct Ready {
    pub ready: bool,
    /// Base URL of the API.
    pub http: String,
    /// Where SIP is bound; none while the fleet is external.
    pub sip: Option<String>,
    /// Where diallers reach a bot by WebSocket, before `/ws/BOT`; none while the fleet is external.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ws: Option<String>,
    pub data: PathBuf,
    pub aws: AwsPlace,
    /// The secrets that fleet servers share with us.
    pub fleet_secret_file: Option<PathBuf>,
    /// Base URL of the embedded fleet server's private port, with `/metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_http: Option<String>,
    /// The admin key, when this start minted it. It is not told again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_key: Option<String>,
}

/// How fleet servers and AWS tools reach the same services.
#[derive(Debug, Clone, Serialize)]
pub struct AwsPlace {
    pub endpoint: String,
    pub region: String,
    /// For `AWS_SHARED_CREDENTIALS_FILE`; none where the credentials came from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

impl Ready {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and paths of texts are JSON")
    }

    /// The page for people: what is where, and what to type next.
    pub fn to_text(&self, speech: &str) -> String {
        let mut page = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(page, "  {name:<12} {value}");
        };
        line("API", &self.http);
        match (&self.sip, &self.ws, &self.fleet_http) {
            (Some(sip), Some(ws), Some(private)) => {
                line("SIP", &format!("{sip} (UDP)"));
                line("WebSocket", &format!("{ws}/ws/BOT"));
                line("metrics", &format!("{private}/metrics"));
            }
            _ => line("fleet", "external: start servers as below"),
        }
        line("AWS", &format!("{} ({})", self.aws.endpoint, self.aws.region));
        line("data", &self.data.display().to_string());
        for (index, part) in speech.lines().enumerate() {
            line(if index == 0 { "speech" } else { "" }, part);
        }
        let mut text = format!("Ringfleet is ready.\n\n{page}");
        if let Some(key) = &self.admin_key {
            let _ = writeln!(text, "\nAdmin key, shown this once: {key}");
        }
        if self.sip.is_none() {
            let _ = write!(text, "\nA fleet server joins with:\n{}", self.join_command());
        }
        let key = self.admin_key.as_deref().unwrap_or("$KEY");
        let http = &self.http;
        let _ = write!(
            text,
            "\nSee the fleet:   curl -H 'X-API-Key: {key}' {http}/health/fleet\n\
             Place a call, once there are a bot and a trunk (ringfleet trunk put FILE, ringfleet bot put FILE):\n\
             \x20 curl -H 'X-API-Key: {key}' {http}/api/v1/dialout \\\n\
             \x20   -d '{{\"bot_id\":\"my-bot\",\"to_number\":\"+919876543210\",\"variables\":{{\"customer_name\":\"Asha\"}}}}'\n\
             \nCtrl-C ends: calls may finish first; a second Ctrl-C ends them.\n"
        );
        text
    }

    fn join_command(&self) -> String {
        let mut command = format!("  AWS_ENDPOINT_URL={} AWS_REGION={}", self.aws.endpoint, self.aws.region);
        if let Some(file) = &self.aws.credentials_file {
            let _ = write!(command, " AWS_SHARED_CREDENTIALS_FILE={}", file.display());
        }
        command.push_str(" \\\n    ringfleet-fleet --server-id fleet-1");
        if let Some(file) = &self.fleet_secret_file {
            let _ = write!(command, " --fleet-secret-file {}", file.display());
        }
        command.push('\n');
        command
    }
}

/// The key is for the one who asks for it, not for a log.
impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("http", &self.http).field("sip", &self.sip).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ready() -> Ready {
        Ready {
            ready: true,
            http: "http://127.0.0.1:8080".into(),
            sip: Some("127.0.0.1:5060".into()),
            ws: Some("ws://127.0.0.1:8091".into()),
            data: "/data".into(),
            aws: AwsPlace {
                endpoint: "http://127.0.0.1:9".into(),
                region: "us-east-1".into(),
                credentials_file: Some("/data/secrets/aws-credentials".into()),
            },
            fleet_secret_file: Some("/data/secrets/fleet.json".into()),
            fleet_http: Some("http://127.0.0.1:8090".into()),
            admin_key: None,
        }
    }

    #[test]
    fn programs_get_one_line_with_the_promised_members() {
        let line = ready().to_json();
        assert!(!line.contains('\n'));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            value,
            json!({"ready":true,"http":"http://127.0.0.1:8080","sip":"127.0.0.1:5060","ws":"ws://127.0.0.1:8091","data":"/data",
                "aws":{"endpoint":"http://127.0.0.1:9","region":"us-east-1","credentials_file":"/data/secrets/aws-credentials"},
                "fleet_secret_file":"/data/secrets/fleet.json","fleet_http":"http://127.0.0.1:8090"})
        );
        let external = Ready { sip: None, ws: None, fleet_http: None, admin_key: Some("rf_k".into()), ..ready() };
        let value: Value = serde_json::from_str(&external.to_json()).unwrap();
        assert_eq!((&value["sip"], &value["admin_key"]), (&Value::Null, &json!("rf_k")));
    }

    #[test]
    fn people_get_what_to_type_next() {
        let check = |ready: &Ready, has: &[&str], lacks: &[&str]| {
            let text = ready.to_text("speech recognition: none\nwarning: nobody listens");
            for part in has {
                assert!(text.contains(part), "{part} is missing in\n{text}");
            }
            for part in lacks {
                assert!(!text.contains(part), "{part} is in\n{text}");
            }
        };
        check(
            &ready(),
            &[
                "http://127.0.0.1:8080/api/v1/dialout",
                "127.0.0.1:5060 (UDP)",
                "ws://127.0.0.1:8091/ws/BOT",
                "nobody listens",
                "$KEY",
            ],
            &["Admin key", "AWS_REGION"],
        );
        let first = Ready { admin_key: Some("rf_secret".into()), ..ready() };
        check(&first, &["Admin key, shown this once: rf_secret", "X-API-Key: rf_secret"], &["$KEY"]);
        assert!(!format!("{first:?}").contains("rf_secret"));
        let external = Ready { sip: None, ws: None, fleet_http: None, ..ready() };
        let joins = "AWS_ENDPOINT_URL=http://127.0.0.1:9 AWS_REGION=us-east-1 AWS_SHARED_CREDENTIALS_FILE=/data/secrets/aws-credentials";
        check(&external, &[joins, "--fleet-secret-file /data/secrets/fleet.json"], &["(UDP)"]);
    }
}
