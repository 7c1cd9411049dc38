//! Connections that are kept: for the host they were made to, at the address that was judged.

use std::collections::BTreeSet;

use domain::ports::{Outbound, OutboundError};
use infra::guarded::EgressPolicy;

use crate::internet::{Internet, Play, request};

const STAY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn hosts_behind_one_address_do_not_share_connections() {
    let net = Internet::start([Play::Stay(STAY.as_bytes().to_vec())]).await;
    let dns = "rb3.crm.test=93.184.216.34;rb4.crm.test=93.184.216.34;rb5.crm.test=93.184.216.34";
    let client = net.client(EgressPolicy::default(), dns);
    for host in ["rb3", "rb4", "rb3", "rb5", "rb4", "rb3"] {
        let said = client.send(request(&format!("https://{host}.crm.test/x"))).await.unwrap();
        assert_eq!((said.status, said.body.as_ref()), (200, b"ok".as_slice()), "{host}");
    }
    let seen = net.seen();
    for one in &seen {
        assert_eq!(one.header("host"), Some(one.server_name.as_str()), "a request by another host's connection");
    }
    // One connection a host, used again.
    let by_host: BTreeSet<(&str, usize)> = seen.iter().map(|one| (one.server_name.as_str(), one.connection)).collect();
    assert_eq!((seen.len(), by_host.len(), net.accepted()), (6, 3, 3), "{by_host:?}");
}

#[tokio::test]
async fn a_port_is_another_host() {
    let net = Internet::start([Play::Stay(STAY.as_bytes().to_vec())]).await;
    let client = net.client(EgressPolicy::default(), "crm.test=93.184.216.34");
    // A port that is named is the one that is dialled.
    let named = format!("https://crm.test:{}/", net.port());
    for url in ["https://crm.test/", named.as_str(), "https://crm.test:443/", named.as_str()] {
        assert_eq!(client.send(request(url)).await.unwrap().status, 200, "{url}");
    }
    assert_eq!(net.accepted(), 2);
}

#[tokio::test]
async fn a_name_that_moves_inside_takes_no_kept_connection_with_it() {
    let net = Internet::start([Play::Stay(STAY.as_bytes().to_vec())]).await;
    let client = net.client(EgressPolicy::default(), "crm.test=93.184.216.34 then 10.0.0.1");
    assert_eq!(client.send(request("https://crm.test/")).await.unwrap().status, 200);
    // By the connection that is kept: to the public address. What is new is judged, and blocked.
    assert_eq!(client.send(request("https://crm.test/")).await.unwrap().status, 200);
    let said = client.send(request("https://crm.test:8443/")).await;
    assert!(matches!(said, Err(OutboundError::Blocked(_))), "{said:?}");
    assert_eq!((net.accepted(), net.dialled().len()), (1, 1));
}
