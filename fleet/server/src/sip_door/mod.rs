//! The way in by SIP: an INVITE becomes a call of the bot whose number was called, or gets the answer that says why not.
//! It must never tell a stranger more than the settings want, nor take a call before it has a slot.

mod directory;
mod invite;
mod overflow;
mod refusal;

use std::sync::Arc;

use domain::bot::Bot;
use domain::call::Direction;
use domain::ids::BotId;
use domain::phone::E164;
use domain::ports::trunk_entity;
use domain::secret::ExposeSecret;
use domain::share::Over;
use domain::trunk::Trunk;
use serde::Deserialize;
use sip::{AuthOutcome, CallHandle, IncomingInvite};

pub(crate) use directory::Directory;

use crate::accept::inbound::{Arrival, arrive};
use crate::admission::Permit;
use crate::legs::sip::{Inbound, Unfit};
use crate::node::Node;
use crate::signalling::{Act, Gate, Incoming};
use refusal::Refused;

/// The realm of our challenges.
const REALM: &str = "ringfleet";
/// Trunks that may share one account's name; more are not tried.
const SAME_NAME: usize = 8;

/// What is done with an INVITE from an address of no trunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SipUnknown {
    /// Nothing: nobody is here.
    #[default]
    Silence,
    /// 401: who has a trunk's account is let in.
    Challenge,
    /// 403.
    #[serde(alias = "403")]
    Forbid,
}

/// What is done with a call that finds no room here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SipOverflow {
    /// 302 with servers that have room; 503 where there are none.
    #[default]
    Redirect,
    /// 503.
    Busy,
}

/// The settings of the door, and what it knows.
#[derive(Debug, Clone)]
pub(crate) struct SipDoor {
    pub directory: Directory,
    pub unknown: SipUnknown,
    pub overflow: SipOverflow,
}

impl SipDoor {
    /// Whose datagrams are answered: everybody's, or the trunks' only.
    pub(crate) fn gate(&self) -> Option<Gate> {
        let directory = self.directory.clone();
        (self.unknown == SipUnknown::Silence).then(|| Arc::new(move |address| directory.knows(address)) as Gate)
    }
}

/// A call that may begin.
struct Admitted {
    trunk: Arc<Trunk>,
    bot: Arc<Bot>,
    did: E164,
    permit: Permit,
}

/// Takes an INVITE, or refuses it. How many are under way at once is bounded by the endpoint's own limit of calls.
pub(crate) async fn take(node: Arc<Node>, incoming: Incoming) {
    let call = incoming.call;
    let word = match admit(&node, &incoming).await {
        Ok(admitted) => match connect(&node, incoming, admitted).await {
            Ok(()) => "taken",
            Err(refused) => refuse(&node, call, &refused).await,
        },
        Err(refused) => refuse(&node, call, &refused).await,
    };
    metrics::counter!("ringfleet_sip_incoming_total", "outcome" => word).increment(1);
}

async fn refuse(node: &Node, call: CallHandle, refused: &Refused) -> &'static str {
    let act = match refused.answer() {
        Some((code, headers)) => Act::Reject { code, headers },
        None => Act::Challenge { realm: REALM.to_owned() },
    };
    tracing::info!(refused = refused.word(), "a call that came in is not taken");
    if let Err(error) = node.legs.signalling().act(call, act).await {
        tracing::debug!(%error, "its caller was gone already");
    }
    refused.word()
}

/// Finds out who calls whom, and takes a slot.
async fn admit(node: &Node, incoming: &Incoming) -> Result<Admitted, Refused> {
    let candidates = trunks_of(node, incoming).await?;
    let (trunk, did, bot_id) = called(node, &incoming.request, &candidates).await?;
    let bot = node.ports.bots.get(&bot_id).await?.ok_or(Refused::NoSuchNumber)?;
    open(&bot, node.ports.clock.now())?;
    let elsewhere = || overflow::elsewhere(node, &incoming.request, &trunk);
    if trunk.server_group.is_some() && trunk.server_group != node.identity.group {
        return Err(Refused::Full { elsewhere: elsewhere() });
    }
    let permit = node.admission.take(Some(&Over::of(&trunk))).map_err(|refusal| Refused::by(refusal, elsewhere))?;
    Ok(Admitted { trunk, bot: Arc::new(bot), did, permit })
}

/// The trunks that the caller may have come over: those of its address, or the one whose account it proves to have.
async fn trunks_of(node: &Node, incoming: &Incoming) -> Result<Vec<Arc<Trunk>>, Refused> {
    let known = node.sip_door.directory.known();
    let here = known.at(incoming.request.source.remote.ip());
    if !here.is_empty() {
        return Ok(here.to_vec());
    }
    node.sip_door.directory.look_again();
    if node.sip_door.unknown != SipUnknown::Challenge {
        return Err(Refused::Stranger);
    }
    let Some(username) = &incoming.request.claims else { return Err(Refused::Challenge) };
    for trunk in known.named(username).iter().take(SAME_NAME) {
        let Some(sealed) = &trunk.password else { continue };
        let password = match node.ports.seal.open(&trunk_entity(&trunk.trunk_id), sealed) {
            Ok(password) => password,
            Err(error) => {
                tracing::error!(%error, "a trunk's password does not open");
                continue;
            }
        };
        let verified = node.legs.signalling().verify(incoming.call, username, password.expose_secret()).await;
        match verified {
            Ok(AuthOutcome::Accepted) => return Ok(vec![trunk.clone()]),
            Ok(AuthOutcome::Stale | AuthOutcome::Missing) => return Err(Refused::Challenge),
            Ok(AuthOutcome::Rejected) | Err(_) => {}
        }
    }
    Err(Refused::Stranger)
}

/// The bot that the called number belongs to, and of several trunks the one that owns the number.
async fn called(
    node: &Node,
    request: &IncomingInvite,
    candidates: &[Arc<Trunk>],
) -> Result<(Arc<Trunk>, E164, BotId), Refused> {
    let mut tried: Vec<E164> = Vec::new();
    for trunk in candidates {
        for did in invite::called(request, trunk) {
            if tried.contains(&did) {
                continue;
            }
            if let Some(bot) = node.ports.bots.by_number(did.as_str()).await? {
                let owner = candidates.iter().find(|trunk| owns(trunk, &did)).unwrap_or(trunk);
                return Ok((owner.clone(), did, bot));
            }
            tried.push(did);
        }
    }
    Err(Refused::NoSuchNumber)
}

fn owns(trunk: &Trunk, did: &E164) -> bool {
    let rules = trunk.numbers.iter().filter_map(|rule| domain::phone::NumberRule::parse(rule).ok());
    rules.into_iter().any(|rule| rule.matches(did)) || trunk.default_number == did.as_str()
}

/// Whether the bot takes calls now.
fn open(bot: &Bot, now: jiff::Timestamp) -> Result<(), Refused> {
    if !bot.enabled {
        return Err(Refused::Closed { opens_in: None });
    }
    if bot.hours.is_open(now) {
        return Ok(());
    }
    let opens_in = bot.hours.next_open(now).map(|at| {
        let wait = at.duration_since(now).as_millis().max(0);
        u64::try_from(wait).unwrap_or(0).div_ceil(1000).max(1)
    });
    Err(Refused::Closed { opens_in })
}

/// Gives the call its leg and its row; from then on the leg answers the caller, whatever happens.
async fn connect(node: &Arc<Node>, incoming: Incoming, admitted: Admitted) -> Result<(), Refused> {
    let Admitted { trunk, bot, did, permit } = admitted;
    let (from, fields) = (invite::calling(&incoming.request, &trunk), invite::fields(&incoming.request));
    let mut id = [0; 8];
    node.ports.entropy.fill(&mut id);
    let plan = Inbound {
        incoming,
        trunk: &trunk,
        answer: bot.inbound.answer,
        // As outbound: half of what NTP's 64 bits hold fits every parser (RFC 8866 §5.2).
        session_id: u64::from_le_bytes(id) >> 33,
    };
    let leg = node.legs.take(plan).map_err(|unfit| match unfit {
        Unfit::Offer(code) => Refused::Media(code),
        Unfit::Ports => Refused::Full { elsewhere: Vec::new() },
    })?;
    let arrival = Arrival {
        bot,
        trunk: Some(trunk),
        direction: Direction::Inbound,
        from,
        to: did.as_str().to_owned(),
        fields,
        key_id: None,
        permit,
    };
    // A call that is not taken drops its leg, and that tells the caller.
    let _ = arrive(node, arrival, leg).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bot(settings: Value) -> Bot {
        let mut wire = json!({"bot_id": "b", "name": "b", "timezone": "Asia/Kolkata"});
        wire.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        serde_json::from_value(wire).unwrap()
    }

    #[test]
    fn a_bot_is_open_in_its_hours() {
        // 09:00 in Kolkata, a Wednesday.
        let now = "2026-04-15T03:30:00.5Z".parse().unwrap();
        let check = |settings: Value, expect: Result<(), Refused>| {
            assert_eq!(open(&bot(settings.clone()), now), expect, "{settings}");
        };
        let hours = |start: &str, end: &str| json!({"active_hours": [{"days": ["wed"], "start": start, "end": end}]});
        check(json!({}), Ok(()));
        check(hours("09:00", "10:00"), Ok(()));
        check(hours("09:01", "10:00"), Err(Refused::Closed { opens_in: Some(60) }));
        check(hours("08:00", "09:00"), Err(Refused::Closed { opens_in: Some(7 * 86_400 - 3600) }));
        check(json!({"enabled": false}), Err(Refused::Closed { opens_in: None }));
    }

    #[test]
    fn of_trunks_at_one_address_the_number_picks() {
        let check = |numbers: &[&str], expect: bool| {
            let wire = json!({"trunk_id": "t", "name": "t", "host": "h", "default_number": "+911140009999", "numbers": numbers});
            let trunk: Trunk = serde_json::from_value(wire).unwrap();
            assert_eq!(owns(&trunk, &E164::parse("+911140001234").unwrap()), expect, "{numbers:?}");
        };
        check(&[], false);
        check(&["+911140001234"], true);
        check(&["+911140000000-+911140001999"], true);
        check(&["+912*", "nonsense"], false);
    }

    #[test]
    fn settings_are_read_by_their_words() {
        let check = |word: &str, expect: SipUnknown| {
            assert_eq!(serde_json::from_value::<SipUnknown>(json!(word)).unwrap(), expect);
        };
        check("silence", SipUnknown::Silence);
        check("challenge", SipUnknown::Challenge);
        check("forbid", SipUnknown::Forbid);
        check("403", SipUnknown::Forbid);
        assert_eq!(serde_json::from_value::<SipOverflow>(json!("busy")).unwrap(), SipOverflow::Busy);
    }
}
