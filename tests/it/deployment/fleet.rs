//! The servers' template and what it installs, held against the code that runs there: ports, settings, limits of a drain,
//! what a balancer may do to live calls, who reaches what, and what a server may do.

mod boot;
mod drain;
mod powers;

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::document::{Template, loose, many, root, text};

/// The longest that a bot may let a call last, that a phone may ring before it, and that the last words may take, seconds:
/// `domain`'s limits of `max_call_duration_seconds` and `ring_timeout_seconds`, and the server's own after a drain.
const LONGEST_TALK: u64 = 7200;
const LONGEST_RING: u64 = 120;
const LAST_WORDS: u64 = 60;
const LONGEST_CALL: u64 = LONGEST_TALK + LONGEST_RING + LAST_WORDS;
/// AWS has no longer deregistration delay, seconds.
const LONGEST_DEREGISTRATION: u64 = 3600;

fn template() -> Template {
    Template::read("infra/fleet.yaml")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `rule` finds nothing in the template, and in each broken one a fault with `word`.
fn check(rule: fn(&Template) -> Vec<String>, breaks: &[(&str, Value, &str)]) {
    let template = template();
    let faults = rule(&template);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for (place, value, word) in breaks {
        let faults = rule(&template.with(place, value));
        assert!(faults.iter().any(|fault| fault.contains(word)), "{place} = {value} is not found: {faults:?}");
    }
}

fn parameter(template: &Template, name: &str, member: &str) -> u64 {
    let value = &template.document["Parameters"][name][member];
    loose(value).parse().unwrap_or_else(|_| panic!("{name} has no number {member}"))
}

/// What user data writes into `file`: names and values as they stand in the template.
fn variables(template: &Template, file: &str) -> Vec<(String, String)> {
    let data = &template.document["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"];
    let script = text(&data["Fn::Base64"]["Fn::Sub"][0]);
    let (_, rest) = script.split_once(&format!("cat > {file} <<'END'\n")).unwrap_or_else(|| panic!("no {file}"));
    let (lines, _) = rest.split_once("\nEND\n").unwrap();
    lines.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn settings(template: &Template) -> Vec<(String, String)> {
    variables(template, "/etc/ringfleet/fleet.env")
}

fn setting(template: &Template, name: &str) -> String {
    let found = settings(template).into_iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value).unwrap_or_default()
}

/// Whether the sample of the settings has this line.
fn sample(line: &str) -> bool {
    read("ringfleet.sample.toml").lines().any(|known| known == line)
}

/// The value of `key` in a systemd unit.
fn unit<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn machine(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let data = template.properties("LaunchTemplate")["LaunchTemplateData"].clone();
    if data["MetadataOptions"]["HttpTokens"] != "required" || data["MetadataOptions"]["HttpPutResponseHopLimit"] != 1 {
        faults.push("version 1 of the metadata service answers, or others may ask it".to_owned());
    }
    let volumes = many(&data["BlockDeviceMappings"]);
    for volume in &volumes {
        if volume["Ebs"]["Encrypted"] != true || volume["Ebs"]["VolumeType"] != "gp3" {
            faults.push(format!("the volume {} is not encrypted gp3", volume["DeviceName"]));
        }
    }
    if !volumes.iter().any(|volume| volume["DeviceName"] == "/dev/sdf")
        || !read("infra/fleet/libexec/spool").contains("/dev/sdf")
    {
        faults.push("the spool has no volume of its own".to_owned());
    }
    for name in ["Arm64Image", "X86Image"] {
        let parameter = &template.document["Parameters"][name];
        let path = text(&parameter["Default"]);
        let is_public = path.starts_with("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-");
        if !is_public || parameter["Type"] != "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>" {
            faults.push(format!("{name} is not Amazon Linux 2023 of today"));
        }
    }
    faults
}

#[test]
fn machines_have_encrypted_disks_and_version_2_of_the_metadata_service() {
    let data = "/Resources/LaunchTemplate/Properties/LaunchTemplateData";
    check(
        machine,
        &[
            (&format!("{data}/MetadataOptions/HttpTokens"), json!("optional"), "version 1"),
            (&format!("{data}/BlockDeviceMappings/1/Ebs/Encrypted"), json!(false), "/dev/sdf"),
            (&format!("{data}/BlockDeviceMappings/0/Ebs/VolumeType"), json!("gp2"), "/dev/xvda"),
            ("/Parameters/X86Image/Default", json!("ami-1"), "X86Image"),
        ],
    );
}

/// What a balancer may do to calls: send new ones, to servers that do not drain, and nothing else.
fn balancer(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let balancer = template.properties("Balancer");
    if !many(&balancer["LoadBalancerAttributes"])
        .contains(&json!({"Key": "load_balancing.cross_zone.enabled", "Value": "true"}))
    {
        faults.push("a zone without servers would answer nobody".to_owned());
    }
    let targets = template.properties("WsTargets");
    let attribute = |name: &str| {
        let attributes = many(&targets["TargetGroupAttributes"]);
        attributes.iter().find(|found| found["Key"] == name).map(|found| loose(&found["Value"])).unwrap_or_default()
    };
    let delay: u64 = attribute("deregistration_delay.timeout_seconds").parse().unwrap_or(0);
    if delay < LONGEST_CALL.min(LONGEST_DEREGISTRATION) {
        faults.push(format!("a server that leaves is forgotten after {delay} s"));
    }
    // Longer than the longest delay there is: then nothing may end what is connected when it is over.
    if attribute("deregistration_delay.connection_termination.enabled") != "false" {
        faults.push("live calls end with the deregistration delay".to_owned());
    }
    if attribute("target_health_state.unhealthy.connection_termination.enabled") != "false" {
        faults.push("live calls end when their server drains".to_owned());
    }
    let interval: u64 = attribute("target_health_state.unhealthy.draining_interval_seconds").parse().unwrap_or(0);
    if interval < LONGEST_CALL {
        faults.push(format!("live calls of a draining server end after {interval} s"));
    }
    if attribute("preserve_client_ip.enabled") != "true" {
        faults.push("a bot's websocket.cidrs would be looked for in the balancer's address".to_owned());
    }
    for id in ["WsTargets", "SipTargets"] {
        let targets = template.properties(id);
        let port = if id == "WsTargets" { "traffic-port" } else { "8091" };
        if targets["HealthCheckPath"] != "/health" || targets["HealthCheckPort"] != port {
            faults.push(format!("{id} does not ask /health of the WebSocket port"));
        }
    }
    let listener = template.properties("WsListener");
    let tls = template.with("/Parameters/CertificateArn/Default", &json!("arn:aws:acm:c")).properties("WsListener");
    if listener["Protocol"] != "TCP" || tls["Protocol"] != "TLS" || !text(&tls["SslPolicy"]).contains("TLS13") {
        faults.push("TLS ends neither here nor there".to_owned());
    }
    if template.properties("Group")["HealthCheckType"] != "EC2" {
        faults.push("a server that drains is ill to its balancer: the group would replace it".to_owned());
    }
    faults
}

#[test]
fn a_balancer_sends_no_call_to_a_draining_server_and_ends_none() {
    let attributes = "/Resources/WsTargets/Properties/TargetGroupAttributes";
    check(
        balancer,
        &[
            ("/Resources/Balancer/Properties/LoadBalancerAttributes/0/Value", json!("false"), "zone"),
            (&format!("{attributes}/0/Value"), json!("300"), "forgotten after 300 s"),
            (&format!("{attributes}/1/Value"), json!("true"), "deregistration delay"),
            (&format!("{attributes}/2/Value"), json!("true"), "when their server drains"),
            (&format!("{attributes}/3/Value"), json!("3600"), "end after 3600 s"),
            (&format!("{attributes}/4/Value"), json!("false"), "websocket.cidrs"),
            ("/Resources/WsTargets/Properties/HealthCheckPath", json!("/"), "WsTargets"),
            ("/Resources/SipTargets/Properties/HealthCheckPort", json!("5060"), "SipTargets"),
            ("/Resources/Group/Properties/HealthCheckType", json!("ELB"), "ill"),
        ],
    );
}

/// Every variable is a setting of the server, or of AWS's own tools.
fn names(template: &Template) -> Vec<String> {
    let known = read("ringfleet.sample.toml");
    let known: BTreeSet<&str> = known.split_whitespace().filter(|word| word.starts_with("RINGFLEET_")).collect();
    let settings = settings(template);
    let unknown = settings.iter().filter(|(name, _)| !known.contains(name.as_str()) && name != "AWS_REGION");
    let mut faults: Vec<String> = unknown.map(|(name, _)| format!("there is no setting {name}")).collect();
    let mut seen = BTreeSet::new();
    faults
        .extend(settings.iter().filter(|(name, _)| !seen.insert(name)).map(|(name, _)| format!("{name} stands twice")));
    faults
        .extend(settings.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| format!("{name} is never set")));
    faults
}

/// Ports of groups, of the balancer and of the server are the same.
fn network(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let port = |name: &str| setting(template, name).rsplit(':').next().unwrap_or_default().to_owned();
    let (sip, http, ws) = (port("RINGFLEET_FLEET_SIP"), port("RINGFLEET_FLEET_HTTP"), port("RINGFLEET_FLEET_WS"));
    let defaults = [("sip", &sip, "5060"), ("http", &http, "8090"), ("ws", &ws, "8091")];
    faults.extend(
        defaults.iter().filter(|(_, is, wanted)| is != wanted).map(|(name, is, _)| format!("{name} is at {is}")),
    );
    let ports =
        format!("{}-{}", parameter(template, "RtpFirstPort", "Default"), parameter(template, "RtpLastPort", "Default"));
    if !sample(&format!("rtp_ports = \"{ports}\""))
        || !read("infra/fleet/sysctl.conf").contains(&format!("reserved_ports = 5060,8090,8091,{ports}"))
        || !read("infra/fleet/libexec/boot").contains(&format!("/reserved_ports/s/{ports}/$rtp/"))
    {
        faults.push(format!("RTP is not at {ports} everywhere"));
    }
    if setting(template, "RINGFLEET_FLEET_RTP_PORTS") != "${RtpFirstPort}-${RtpLastPort}" {
        faults.push("the server does not know its RTP ports".to_owned());
    }
    if loose(&template.properties("WsTargets")["Port"]) != ws
        || loose(&template.properties("SipTargets")["Port"]) != sip
    {
        faults.push("the balancer sends calls elsewhere".to_owned());
    }
    let open = |template: &Template, id: &str| {
        let rules = many(&template.properties(id)["SecurityGroupIngress"]);
        let world: Vec<Value> = rules.into_iter().filter(|rule| rule["CidrIp"] == "0.0.0.0/0").collect();
        world
            .iter()
            .map(|rule| format!("{} {}-{}", text(&rule["IpProtocol"]), rule["FromPort"], rule["ToPort"]))
            .collect::<Vec<_>>()
    };
    // Untracked: both ways to and from everybody, and the tracked way opens nothing to the world.
    let tracked = template.with("/Parameters/RtpUntracked/Default", &json!("false"));
    let out = many(&template.properties("RtpSecurityGroup")["SecurityGroupEgress"]);
    let all_out = out.iter().any(|rule| rule["CidrIp"] == "0.0.0.0/0" && rule["IpProtocol"] == "-1");
    if open(template, "RtpSecurityGroup") != [format!("udp {}", ports)] || !all_out {
        faults.push("flows of RTP are tracked".to_owned());
    }
    if !open(&tracked, "RtpSecurityGroup").is_empty()
        || !open(template, "SipSecurityGroup").is_empty()
        || !open(template, "WsSecurityGroup").is_empty()
    {
        faults.push("a port of servers is open to the world".to_owned());
    }
    let trunk = template.with("/Parameters/TrunkCidr3/Default", &json!("198.51.100.0/24"));
    for (template, id) in [
        (&trunk, "SipSecurityGroup"),
        (&trunk.with("/Parameters/RtpUntracked/Default", &json!("false")), "RtpSecurityGroup"),
    ] {
        let rules = many(&template.properties(id)["SecurityGroupIngress"]);
        if !rules.iter().any(|rule| rule["CidrIp"] == "198.51.100.0/24" && rule["IpProtocol"] == "udp") {
            faults.push(format!("{id} keeps a trunk out"));
        }
    }
    // AWS promises that what a balancer with a group sends is let in where that group is named, whatever address it comes from.
    let balanced = template.with("/Parameters/SipThroughBalancer/Default", &json!("true"));
    let by_balancer = |id: &str| {
        let rules = many(&balanced.properties(id)["SecurityGroupIngress"]);
        rules.iter().any(|rule| rule["SourceSecurityGroupId"] == "<BalancerSecurityGroup.GroupId>")
    };
    if !by_balancer("SipSecurityGroup") || !by_balancer("WsSecurityGroup") {
        faults.push("servers keep the balancer out".to_owned());
    }
    let peers = template.properties("PeersIngress");
    if loose(&peers["FromPort"]) != http || peers.get("CidrIp").is_some() {
        faults.push("a full server can't hand on its diallers".to_owned());
    }
    faults
}

#[test]
fn every_variable_is_a_setting_and_every_port_is_the_same_everywhere() {
    let script = "/Resources/LaunchTemplate/Properties/LaunchTemplateData/UserData/Fn::Base64/Fn::Sub/0";
    let text = text(template().document.pointer(script).unwrap()).to_owned();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "no {from}");
        json!(text.replace(from, to))
    };
    check(
        names,
        &[
            (script, with("RINGFLEET_FLEET_MAX_CALLS", "RINGFLEET_FLEET_CALLS"), "no setting RINGFLEET_FLEET_CALLS"),
            (script, with("RINGFLEET_FLEET_GROUP=", "RINGFLEET_FLEET_WS="), "stands twice"),
        ],
    );
    // A server follows bots' URLs as functions do, and is let in and kept out where they are.
    let push = Template::read("template.yaml").properties("PushFunction")["Environment"]["Variables"].clone();
    for name in push.as_object().unwrap().keys().filter(|name| name.starts_with("RINGFLEET_EGRESS_")) {
        assert!(!setting(&template(), name).is_empty(), "a server does not know {name}");
    }
    check(
        network,
        &[
            (script, with("0.0.0.0:8091", "0.0.0.0:8092"), "ws is at 8092"),
            ("/Parameters/RtpLastPort/Default", json!(39999), "RTP is not at 20000-39999"),
            ("/Resources/WsTargets/Properties/Port", json!(8090), "elsewhere"),
            ("/Resources/RtpSecurityGroup/Properties/SecurityGroupEgress", json!([]), "tracked"),
            ("/Resources/RtpSecurityGroup/Properties/SecurityGroupIngress/0", json!({}), "tracked"),
            (
                "/Resources/SipSecurityGroup/Properties/SecurityGroupIngress/0",
                json!({"IpProtocol": "udp", "FromPort": 5060, "ToPort": 5060, "CidrIp": "0.0.0.0/0"}),
                "open to the world",
            ),
            ("/Resources/SipSecurityGroup/Properties/SecurityGroupIngress/2", json!({}), "SipSecurityGroup keeps"),
            ("/Resources/SipSecurityGroup/Properties/SecurityGroupIngress/7", json!({}), "keep the balancer out"),
            ("/Resources/PeersIngress/Properties/FromPort", json!(8091), "hand on"),
        ],
    );
}

/// What `fleet.yaml` takes from the deployment, the deployment gives; and alarms reach somebody.
#[test]
fn what_is_imported_is_exported_and_alarms_are_heard() {
    let deployment = Template::read("template.yaml");
    let exports: BTreeSet<String> =
        deployment.outputs().map(|(_, output)| loose(&deployment.resolve(&output["Export"]["Name"]))).collect();
    let text = read("infra/fleet.yaml");
    let imports: BTreeSet<&str> = text
        .match_indices("${ControlStackName}-")
        .map(|(at, mark)| {
            let name = &text[at + mark.len()..];
            &name[..name.find(|c: char| !c.is_alphanumeric()).unwrap()]
        })
        .collect();
    assert!(imports.len() >= 10, "{imports:?}");
    for name in imports {
        assert!(exports.contains(&format!("ringfleet-{name}")), "the deployment does not export {name}: {exports:?}");
    }
    let template = template();
    let alarms = template.of("AWS::CloudWatch::Alarm");
    assert!(alarms.iter().all(|(_, alarm)| alarm["AlarmActions"] == json!(["<Fn::ImportValue>"])));
    let agent = read("infra/fleet/cloudwatch-agent.json");
    for metric in ["conntrack_allowance_exceeded", "pps_allowance_exceeded"] {
        let is_watched =
            alarms.iter().any(|(_, alarm)| alarm["Metrics"].to_string().contains(&format!("\"ethtool_{metric}\"")));
        // An average changes with the servers that come and go.
        let sums = alarms.iter().filter(|(_, alarm)| alarm["Metrics"][0]["MetricStat"]["Stat"] == "Sum").count();
        assert_eq!(sums, 2, "{metric}");
        assert!(is_watched && agent.contains(&format!("\"{metric}\"")), "{metric} is not watched");
    }
    assert!(
        agent.contains("\"rename\": \"spool_used_percent\"") && agent.contains("\"namespace\": \"Ringfleet/Fleet\"")
    );
    serde_json::from_str::<Value>(&agent).unwrap();
    let scaling = &template.properties("KeepSlotsFree")["TargetTrackingConfiguration"]["CustomizedMetricSpecification"];
    assert_eq!((&scaling["Namespace"], &scaling["MetricName"]), (&json!("Ringfleet"), &json!("BusyPercent")));
}
