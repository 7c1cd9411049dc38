//! Every URL, name and address that a user must not be able to reach.

use domain::ports::{Outbound, OutboundError};
use infra::guarded::EgressPolicy;

use crate::internet::{Internet, OK, Play, loopback, request};

const SSRF: &str = include_str!("../data/ssrf.tsv");

/// The row of `ssrf.tsv`, by column.
struct Case {
    id: &'static str,
    url: String,
    expect: &'static str,
    dns: &'static str,
    server: &'static str,
}

fn cases() -> Vec<Case> {
    let read = |line: &'static str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let url = columns[1].replace("\\r", "\r").replace("\\n", "\n");
        // A backslash that is none of the two escapes is meant.
        Case { id: columns[0], url, expect: columns[2], dns: columns[4], server: columns[5] }
    };
    SSRF.lines().skip(1).map(read).collect()
}

/// The answer that the column `server` describes.
fn answer(server: &str) -> Play {
    let headers = |line: &str, header: &str| {
        Play::text(&format!("HTTP/1.1 {line}\r\n{header}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
    };
    match server {
        "-" => Play::text(OK),
        _ if server.starts_with("302 ") => headers("302 Found", &server[4..]),
        _ if server.starts_with("200 ") => headers("200 OK", &server[4..]),
        other => panic!("unknown server behaviour {other}"),
    }
}

#[tokio::test]
async fn every_case_of_the_ssrf_list() {
    let cases = cases();
    assert_eq!(cases.len(), 81, "the list is whole");
    for case in cases {
        let policy = EgressPolicy { deny_hosts: vec!["fleet.example.com".into()], ..EgressPolicy::default() };
        let net = Internet::start([answer(case.server)]).await;
        let client = net.client(policy, case.dns);
        let mut wanted = request(&case.url);
        wanted.headers.insert("authorization", "Bearer t0ken".parse().unwrap());
        let mut said = client.send(wanted.clone()).await;
        if case.id == "rebind_retry" {
            assert!(said.is_ok(), "the first answer was public");
            // The connection that is kept is to the address that was judged; a new one judges anew.
            said = client.send(wanted).await;
        }
        let (id, dialled, seen) = (case.id, net.dialled(), net.seen());
        let public = dialled.iter().all(|ip| EgressPolicy::default().check_address(*ip).is_ok());
        assert!(public, "{id}: dialled {dialled:?}");
        let blocked = matches!(said, Err(OutboundError::Blocked(_)));
        let status = said.as_ref().ok().map(|answer| answer.status);
        let held = match case.expect {
            "allow" | "allow-ignored" => status == Some(200) && seen.len() == 1,
            "block" => blocked && (net.accepted() == 0 || id == "rebind_retry"),
            "allow|block" | "allow-public-only" | "block-or-public" => blocked || status == Some(200),
            "fail-not-followed" => status == Some(302) && dialled.len() == 1 && seen.len() == 1,
            other => panic!("{id}: unknown expectation {other}"),
        };
        assert!(held, "{id} wants {}, got {said:?}", case.expect);
    }
}

/// Siblings of the list's cases: the same tricks with other addresses, forms and places.
#[tokio::test]
async fn siblings_of_the_list() {
    let check = async |url: &str, dns: &str, allowed: bool| {
        let net = Internet::start([Play::text(OK)]).await;
        let said = net.client(EgressPolicy::default(), dns).send(request(url)).await;
        if allowed {
            assert_eq!(said.unwrap().status, 200, "{url} {dns}");
        } else {
            assert!(matches!(said, Err(OutboundError::Blocked(_))), "{url} {dns}: {said:?}");
            assert_eq!((net.accepted(), net.dialled().len()), (0, 0), "{url} {dns}");
        }
    };
    for url in [
        "https://017700000001/",
        "https://0x7f.0.0.1/",
        "https://127.1/",
        "https://0/",
        "https://3232235777/",
        "https://0xA9FEA9FE/",
        "https://169.254.43518/",
        "https://127。0。0。1/",
        "https://１２７.0.0.1/",
        "https://[::ffff:169.254.170.2]/",
        "https://[::127.0.0.1]/",
        "https://[0:0:0:0:0:ffff:c0a8:0101]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://[2002:a9fe:a9fe::1]/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://[::]/",
        "https://[ff02::1]/",
        "https://100.100.100.200/",
        "https://168.63.129.16/",
        "https://LOCALHOST/",
        "https://localhost.localdomain/",
        "https://metadata/",
        "https://kubernetes.default.svc.cluster.local/",
        "https://crm.test:25/",
        "https://crm.test:22/",
        "https://crm.test:5432/",
        "https://crm.test:0x50/",
        "https://:pw@crm.test/",
        "https://%63rm.test@127.0.0.1/",
        "https://crm.test\\.evil.test/",
        "https://crm.test\t/",
        "https://crm.test/\u{2028}",
        "https://{{crm.host}}.crm.test/",
        "data:text/plain,x",
        "blob:https://crm.test/1",
        "view-source:https://crm.test/",
        "jar:https://crm.test/!/",
        "https+unix://crm.test/",
        "",
    ] {
        check(url, "crm.test=93.184.216.34", false).await;
    }
    check("https://crm.test./", "crm.test.=93.184.216.34;crm.test=93.184.216.34", true).await;
    check("HTTPS://CRM.TEST/", "crm.test=93.184.216.34", true).await;
    check("https://crm.test/%2e%2e/%00?x=http://127.0.0.1/#@127.0.0.1", "crm.test=93.184.216.34", true).await;
    for private in
        ["10.0.0.1", "::1", "::ffff:10.0.0.1", "100.64.0.1", "169.254.169.254", "fd00::1", "0.0.0.0", "2002:7f00:1::"]
    {
        check("https://n.crm.test/", &format!("n.crm.test={private}"), false).await;
        // One bad address spoils the answer, wherever it stands: a happy-eyeballs race must not find it.
        check("https://n.crm.test/", &format!("n.crm.test=93.184.216.34,{private}"), false).await;
        check("https://n.crm.test/", &format!("n.crm.test={private},93.184.216.34"), false).await;
        check("https://n.crm.test/", &format!("n.crm.test=CNAME a.crm.test=CNAME b.internal={private}"), false).await;
    }
}

#[tokio::test]
async fn the_deployments_own_public_addresses_can_be_denied() {
    let policy = EgressPolicy { deny_cidrs: vec!["93.184.216.0/24".parse().unwrap()], ..EgressPolicy::default() };
    let net = Internet::start([Play::text(OK)]).await;
    // Whatever name it hides behind: our own fleet, our own NAT.
    let client = net.client(policy, "own.crm.test=93.184.216.34;other.crm.test=1.1.1.1");
    for url in ["https://own.crm.test/", "https://93.184.216.34/"] {
        let said = client.send(request(url)).await;
        assert!(matches!(said, Err(OutboundError::Blocked(_))), "{url}: {said:?}");
    }
    assert_eq!(client.send(request("https://other.crm.test/")).await.unwrap().status, 200);
    // A denied address stays so in a listed block.
    let both = EgressPolicy { deny_cidrs: vec!["127.0.0.9/32".parse().unwrap()], ..loopback() };
    assert!(both.check_address("127.0.0.9".parse().unwrap()).is_err());
    assert!(both.check_address("127.0.0.8".parse().unwrap()).is_ok());
}

#[tokio::test]
async fn a_token_goes_to_the_host_it_was_meant_for_and_no_further() {
    for location in
        ["https://other.test/", "https://crm.test/again", "//other.test/", "/again", "http://169.254.169.254/"]
    {
        for status in [301, 302, 303, 307, 308] {
            let redirect = format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            let net = Internet::start([Play::text(&redirect)]).await;
            let mut wanted = request("https://crm.test/api");
            wanted.headers.insert("authorization", "Bearer t0ken".parse().unwrap());
            let client = net.client(EgressPolicy::default(), "crm.test=93.184.216.34;other.test=93.184.216.35");
            assert_eq!(client.send(wanted).await.unwrap().status, status, "{location}");
            let seen = net.seen();
            assert_eq!((seen.len(), seen[0].header("authorization")), (1, Some("Bearer t0ken")), "{status} {location}");
            assert_eq!(seen[0].header("referer"), None);
        }
    }
}
