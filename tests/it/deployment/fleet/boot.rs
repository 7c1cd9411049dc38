//! What a machine needs to become a server, run as far as it runs without one: scripts, units, the release, the pool of
//! addresses.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringfleet_tests::tools;

use super::super::document::{root, text};
use super::{parameter, read, template, unit};

/// The files that systemd, the kernel and the shell read are what these take them for.
#[test]
fn scripts_and_units_are_sound() {
    let folder = root().join("infra/fleet");
    let files = |below: &str| -> Vec<String> {
        let found = fs::read_dir(folder.join(below)).unwrap();
        found.map(|entry| entry.unwrap().path().to_string_lossy().into_owned()).collect()
    };
    let scripts = [files("libexec"), vec![root().join("infra/package").to_string_lossy().into_owned()]].concat();
    for script in &scripts {
        let text = fs::read_to_string(script).unwrap();
        assert!(text.starts_with("#!/usr/bin/env bash\n") && text.contains("\nset -euo pipefail\n"), "{script}");
    }
    let service = read("infra/fleet/systemd/ringfleet-fleet.service");
    for (key, value) in [
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
        ("RestrictNamespaces", "yes"),
        ("User", "ringfleet"),
    ] {
        assert_eq!(unit(&service, key), [value], "{key}");
    }
    // The certificate lies in memory: after a restart of the machine, a server without it starts in vain until it is fetched.
    let tls = read("infra/fleet/systemd/ringfleet-tls.service");
    assert_eq!(unit(&tls, "Restart"), ["on-failure"]);
    let descriptors: u64 = unit(&service, "LimitNOFILE")[0].parse().unwrap();
    // Two sockets for RTP and RTCP, a WebSocket, a recording, and whatever a provider needs.
    let most = parameter(&template(), "CallsPerServer", "MaxValue");
    assert!(descriptors >= most * 8, "{descriptors} descriptors for {most} calls");
    if tools::can_run("scripts_and_units_are_sound", &["shellcheck"]) {
        let said = Command::new("shellcheck").args(&scripts).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    }
}

/// systemd 252 opens the file of `StandardOutput=` before it makes a `LogsDirectory=` (its issue 27591): without the folder the
/// journal reaches nobody. And what fails later than that is told.
#[test]
fn a_log_has_its_folder_before_its_service_and_reaches_its_readers_before_anything_can_fail() {
    let boot = read("infra/fleet/libexec/boot");
    let at = |line: &str| boot.find(line).unwrap_or_else(|| panic!("libexec/boot has no `{line}`"));
    let service = read("infra/fleet/systemd/ringfleet-journal.service");
    let file = unit(&service, "StandardOutput")[0].strip_prefix("append:").unwrap();
    let folder = Path::new(file).parent().unwrap().display().to_string();
    let owner = format!("-o {} -g {}", unit(&service, "User")[0], unit(&service, "Group")[0]);
    let mode = unit(&service, "LogsDirectoryMode")[0];
    assert!(read("infra/fleet/cloudwatch-agent.json").contains(&format!("\"file_path\": \"{file}\"")));
    // Its own size is looked at often: once a day is not enough for a busy server's disk.
    assert!(read("infra/fleet/logrotate.conf").contains(&format!("\n{file} {{")));
    assert!(unit(&read("infra/fleet/systemd/ringfleet-rotate.service"), "ExecStart")[0].ends_with("/logrotate.conf"));
    assert_eq!(unit(&read("infra/fleet/systemd/ringfleet-rotate.timer"), "OnUnitActiveSec"), ["15min"]);
    let steps = [
        at(&format!("\ninstall -d -m {mode} {owner} {folder}\n")),
        at("\nsystemctl enable --now ringfleet-journal.service ringfleet-rotate.timer\n"),
        at("\n\"$home/libexec/watch\"\n"),
        at("\n\"$home/libexec/spool\"\n"),
        at("\"$home/libexec/speech\""),
        at("\"$home/libexec/claim-address\""),
        at("ringfleet-tls.service ringfleet-tls.timer"),
        at("\nsystemctl enable --now ringfleet-fleet.service\n"),
    ];
    assert!(steps.is_sorted(), "{steps:?}");
}

/// Two builds of a release are the same bytes, and unpack as user data unpacks them to what the units start.
#[test]
fn a_release_is_the_same_bytes_twice_and_holds_what_the_units_start() {
    if !tools::can_run("a_release_is_the_same_bytes_twice_and_holds_what_the_units_start", &["git", "readelf"]) {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let package = || {
        let mut command = Command::new(root().join("infra/package"));
        let said = command.args(["--binary", "/bin/true", "--out"]).arg(out.path()).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
        let line = text.lines().find_map(|line| line.strip_prefix("ReleaseSha256=")).unwrap().to_owned();
        let (sum, rest) = line.split_once("    # ").unwrap();
        (sum.to_owned(), rest.split(',').next().unwrap().to_owned())
    };
    let (sum, file) = package();
    assert_eq!((sum, file.clone()), package());
    assert!(Path::new(&file).starts_with(out.path()), "{file}");
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(root().join(&file)).arg("-C").arg(folder.path());
    let data = &template().document["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"];
    let script = text(&data["Fn::Base64"]["Fn::Sub"][0]);
    assert!(script.contains("-C /opt/ringfleet --strip-components=1 "), "{script}");
    assert!(tar.arg("--strip-components=1").status().unwrap().success());
    let units = fs::read_dir(folder.path().join("systemd")).unwrap().map(|unit| unit.unwrap().path());
    let started: Vec<String> = units
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            unit(&text, "ExecStart").iter().map(|start| (*start).to_owned()).collect::<Vec<_>>()
        })
        .chain(["/opt/ringfleet/libexec/boot".to_owned()])
        .filter_map(|start| Some(start.strip_prefix("/opt/ringfleet/")?.to_owned()))
        .collect();
    assert!(started.len() >= 3, "{started:?}");
    for program in started {
        assert!(folder.path().join(&program).is_file(), "{program} is not in the release");
    }
}

/// A stand-in for the AWS command line: the addresses of a pool as folders, taken by whoever makes the one in it first. With
/// LATE what was taken is listed at the second look only, with LOST nobody hears that he has it.
const AWS: &str = r#"#!/usr/bin/env bash
set -euo pipefail
case $2 in
  describe-addresses)
    for address in "$POOL"/*; do
      instance=$(cat "$address/taken/instance" 2> /dev/null || echo None)
      if [ -n "${LATE:-}" ] && [ "$instance" != None ] && mkdir "$address/taken/looked" 2> /dev/null; then instance=None; fi
      printf '%s\t%s\t%s\t%s\n' "$(basename "$address")" "192.0.2.${address##*-}" "$instance" "$instance"
    done ;;
  associate-address)
    [ "$3 $5 $7" = "--instance-id --allocation-id --no-allow-reassociation" ]
    mkdir "$POOL/$6/taken" 2> /dev/null || { echo "Resource.AlreadyAssociated" >&2; exit 254; }
    echo "$4" > "$POOL/$6/taken/instance"
    if [ -n "${LOST:-}" ]; then echo "Read timeout on endpoint URL" >&2; exit 255; fi ;;
esac
"#;
const IMDS: &str = r#"#!/usr/bin/env bash
case $1 in
  instance-id) echo "$INSTANCE" ;;
  public-ipv4) taken=$(grep -lx "$INSTANCE" "$POOL"/*/taken/instance) && taken=${taken%/taken/*} && echo "192.0.2.${taken##*-}" ;;
esac
"#;

/// A pool of five addresses, and the script that takes one of them.
struct Pool {
    folder: tempfile::TempDir,
}

impl Pool {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=5 {
            fs::create_dir_all(folder.path().join(format!("pool/eipalloc-{number}"))).unwrap();
        }
        let script = read("infra/fleet/libexec/claim-address");
        for (name, text) in [("aws", AWS), ("imds", IMDS), ("claim-address", script.as_str())] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// An instance that wants an address, where the named things go wrong.
    fn claim(&self, number: usize, wrong: &[&str]) -> Child {
        let mut command = Command::new(self.path("claim-address"));
        let variables = [
            ("AWS_DEFAULT_REGION", "r"),
            ("ELASTIC_IP_POOL", "p"),
            ("CLAIM_PAUSE_SECONDS", "0.1"),
            ("CLAIM_SECONDS", "3"),
        ];
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        command.envs(variables).env("PATH", path).env("POOL", self.path("pool"));
        command.env("INSTANCE", format!("i-{number}")).envs(wrong.iter().map(|name| (*name, "1")));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// A second address would take the first one from the instance again.
#[test]
fn a_server_takes_one_address_though_it_is_listed_late_or_nobody_hears_that_it_was_taken() {
    for wrong in ["LATE", "LOST"] {
        let pool = Pool::new();
        let ended = pool.claim(1, &[wrong]).wait_with_output().unwrap();
        assert!(ended.status.success(), "{wrong}: {ended:?}");
        let taken = (1..=5).filter(|number| pool.path(&format!("pool/eipalloc-{number}/taken")).exists()).count();
        assert_eq!(taken, 1, "{wrong}: {ended:?}");
    }
}

#[test]
fn of_a_crowd_each_server_takes_one_address_of_the_pool_and_who_finds_none_is_no_server() {
    let pool = Pool::new();
    let crowd: Vec<_> = (1..=8).map(|number| pool.claim(number, &[])).collect();
    let ended: Vec<_> = crowd.into_iter().map(|one| one.wait_with_output().unwrap()).collect();
    let told: BTreeSet<String> = ended
        .iter()
        .filter(|one| one.status.success())
        .map(|one| String::from_utf8_lossy(&one.stdout).trim().to_owned())
        .collect();
    assert_eq!(told.len(), 5, "{ended:?}");
    let without: Vec<_> = ended.iter().filter(|one| !one.status.success()).collect();
    assert_eq!(without.len(), 3, "{ended:?}");
    assert!(
        without.iter().all(|one| String::from_utf8_lossy(&one.stderr).contains("has no free address")),
        "{without:?}"
    );
    // Run again, it keeps what it has.
    let taken = fs::read_to_string(pool.path("pool/eipalloc-1/taken/instance")).unwrap();
    let number = taken.trim().trim_start_matches("i-").parse().unwrap();
    let again = pool.claim(number, &[]).wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("192.0.2.1"), "{again:?}");
}
