//! Where a caller may go that finds no room here: servers with room, as values of a 302's Contact.
//! It must never send a call on that was sent on already: two full servers would play ball with it.

use domain::ids::ServerId;
use domain::trunk::Trunk;
use sip::IncomingInvite;
use sip::message::Uri;

use super::SipOverflow;
use crate::node::Node;

/// Servers that are named; the caller tries them in their order.
const MOST: usize = 3;
/// A parameter of our Contacts' URIs, by which the next server knows that the call has been elsewhere.
const SENT_ON: &str = "rf-sent-on";

/// Values of Contact, best first; empty where there is none or the settings want a 503.
pub(super) fn elsewhere(node: &Node, request: &IncomingInvite, trunk: &Trunk) -> Vec<String> {
    if node.sip_door.overflow == SipOverflow::Busy {
        return Vec::new();
    }
    let now = node.ports.clock.now();
    let group = trunk.server_group.as_deref();
    let seed = node.ports.entropy.dice();
    let dice = |id: &ServerId| {
        id.as_str().bytes().fold(seed, |mixed, byte| (mixed ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    };
    let ranked = node.peers.with_room(&node.identity.server_id, group, now, dice);
    let addresses: Vec<&str> = ranked.iter().map(|server| server.sip.as_str()).collect();
    contacts(&request.request_uri, &addresses)
}

fn contacts(request_uri: &str, servers: &[&str]) -> Vec<String> {
    let Ok(uri) = Uri::parse(request_uri) else { return Vec::new() };
    if uri.param(SENT_ON).is_some() {
        return Vec::new();
    }
    let user = uri.user.map(|user| format!("{user}@")).unwrap_or_default();
    let named = servers.iter().filter(|address| !address.is_empty()).take(MOST);
    named.map(|address| format!("<sip:{user}{address};{SENT_ON}>")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_sent_on_once() {
        let check = |uri: &str, servers: &[&str], expect: &[&str]| assert_eq!(contacts(uri, servers), expect, "{uri}");
        let did = "sip:+911140001234@10.0.0.1";
        check(did, &[], &[]);
        check(
            did,
            &["10.0.0.2:5060", "", "10.0.0.3:5062"],
            &["<sip:+911140001234@10.0.0.2:5060;rf-sent-on>", "<sip:+911140001234@10.0.0.3:5062;rf-sent-on>"],
        );
        check(
            did,
            &["a:1", "b:1", "c:1", "d:1"],
            &[
                "<sip:+911140001234@a:1;rf-sent-on>",
                "<sip:+911140001234@b:1;rf-sent-on>",
                "<sip:+911140001234@c:1;rf-sent-on>",
            ],
        );
        check("sip:+911140001234@10.0.0.2:5060;rf-sent-on", &["10.0.0.3:5060"], &[]);
        check("tel:+911140001234", &["10.0.0.2:5060"], &["<sip:+911140001234@10.0.0.2:5060;rf-sent-on>"]);
        check("sip:10.0.0.1", &["10.0.0.2:5060"], &["<sip:10.0.0.2:5060;rf-sent-on>"]);
    }
}
