//! From a request to a socket: bot, door, active hours, slot, upgrade, in this order, so that each refusal tells no more
//! than its client may know. It must never upgrade a connection that it holds no slot for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dialect::SUBPROTOCOLS;
use domain::bot::Bot;
use domain::ids::{BotId, KeyId};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tracing::{Instrument, Span};

use super::Public;
use super::addresses::Place;
use super::query::Spoken;
use super::reception::{BenchDesk, Desk};
use super::refusal::Refusal;
use crate::bench::Bench;
use crate::door::{self, Knock, Query, Refused, Verdict};
use crate::legs::websocket::{Greeting, Reception, hold};
use crate::node::Node;
use crate::passing::Introduction;

/// The bench's name in the place of a bot's.
const BENCH: &str = "bench";
/// From our answer to the socket.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// A client that was let in to a bot.
#[derive(Debug, Clone)]
struct Guest {
    bot: Arc<Bot>,
    key_id: Option<KeyId>,
    /// Of the client itself, behind whatever proxies.
    address: IpAddr,
}

impl Guest {
    /// For the peer that it is passed on to.
    fn introduction(&self) -> Introduction {
        Introduction { bot_id: self.bot.bot_id.clone(), address: self.address, key_id: self.key_id.clone() }
    }
}

/// What became of a guest.
enum Taken {
    /// It has its answer: an upgrade or a refusal.
    Answered(Response),
    /// There is no slot: another server may have one.
    Full(Request),
}

/// `GET /ws/{bot_id}`.
pub(super) async fn connect(
    State(public): State<Public>,
    Path(bot_id): Path<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    enter(public, &bot_id, None, peer, request).await
}

/// `GET /ws/{bot_id}/{token}`, for platforms that keep neither headers nor a query (Twilio).
pub(super) async fn connect_by_token(
    State(public): State<Public>,
    Path((bot_id, token)): Path<(String, String)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    enter(public, &bot_id, Some(&token), peer, request).await
}

async fn enter(
    Public { node, bench }: Public,
    bot_id: &str,
    token: Option<&str>,
    peer: SocketAddr,
    request: Request,
) -> Response {
    if let Err(refusal) = upgrade_response(&request) {
        return refusal.into_response();
    }
    if let Some(bench) = bench.filter(|_| bot_id == BENCH) {
        return to_bench(&node, bench, request);
    }
    // A body can't be looked at from two threads: it must not stand in the way of waiting.
    let (head, body) = request.into_parts();
    let guest = match let_in(&node, bot_id, token, peer, &head).await {
        Ok(guest) => guest,
        Err(refused) => return refused,
    };
    let request = Request::from_parts(head, body);
    let introduction = guest.introduction();
    let request = match take_in(&node, guest, request) {
        Taken::Answered(response) => return response,
        Taken::Full(request) => request,
    };
    match node.passing.pass_on(&introduction, request).await {
        Some(response) => response,
        None => Refusal::NoCapacity.into_response(),
    }
}

/// As [`connect`], on the private port, for a client that a peer's door let in. It is not passed on again.
pub(crate) async fn passed_on(node: &Arc<Node>, bot_id: &str, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let introduced = match node.ports.secrets.fleet().await {
        Ok(secrets) => Introduction::read(&secrets, bot_id, &head.uri, &head.headers, node.ports.clock.now()),
        Err(cause) => return Refusal::Store(cause).into_response(),
    };
    let introduction = match introduced {
        Ok(introduction) => introduction,
        Err(why) => {
            tracing::warn!(%why, "a WebSocket on the private port was refused");
            return (StatusCode::UNAUTHORIZED, why.to_string()).into_response();
        }
    };
    let bot = match node.ports.bots.get(&introduction.bot_id).await {
        Ok(bot) => bot.filter(|bot| bot.enabled),
        Err(cause) => return Refusal::Store(cause).into_response(),
    };
    let Some(bot) = bot else { return Refused::NoSuchBot.into_response() };
    let guest = Guest { bot: Arc::new(bot), key_id: introduction.key_id, address: introduction.address };
    match take_in(node, guest, Request::from_parts(head, body)) {
        Taken::Answered(response) => response,
        Taken::Full(_) => Refusal::NoCapacity.into_response(),
    }
}

/// Who it is, and whether the bot is for them.
async fn let_in(
    node: &Node,
    bot_id: &str,
    token: Option<&str>,
    peer: SocketAddr,
    head: &Parts,
) -> Result<Guest, Response> {
    let headers = &head.headers;
    let bot = match BotId::parse(bot_id) {
        Ok(id) => node.ports.bots.get(&id).await.map_err(|cause| Refusal::Store(cause).into_response())?,
        Err(_) => None,
    };
    let Some(bot) = bot.filter(|bot| bot.enabled) else {
        return Err(door::no_such_bot(node, peer, headers).await.into_response());
    };
    let query = Query::read(head.uri.query()).with_path(token);
    match door::admit(node, Knock { bot: &bot, peer, headers, query: &query }).await {
        Verdict::Welcome { key_id, address } => Ok(Guest { bot: Arc::new(bot), key_id, address }),
        Verdict::Refused(refused) => Err(refused.into_response()),
    }
}

/// Takes a slot and answers with the upgrade; the socket then lives in a task of its own.
fn take_in(node: &Arc<Node>, guest: Guest, request: Request) -> Taken {
    let (mut response, spoken, place) = match judge(node, &guest, &request) {
        Ok(fit) => fit,
        Err(refusal) => return Taken::Answered(refusal.into_response()),
    };
    let permit = match node.admission.take(None) {
        Ok(permit) => permit,
        Err(why) => {
            tracing::debug!(?why, "no slot for a dialler");
            return Taken::Full(request);
        }
    };
    let subprotocol = agreed(request.headers());
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    let settings = settings(node, &guest.bot, spoken, subprotocol);
    let span = tracing::info_span!("dialler", bot.id = %guest.bot.bot_id, leg.kind = "websocket");
    let desk = Desk { node: node.clone(), bot: guest.bot, key_id: guest.key_id, permit };
    upgrade(node, settings, request, desk, (span, Some(place)));
    Taken::Answered(response)
}

/// What can be said of a request without a slot for it.
fn judge(node: &Node, guest: &Guest, request: &Request) -> Result<(Response, Spoken, Place), Refusal> {
    let response = upgrade_response(request)?;
    let spoken = Spoken::read(request.uri().query())?;
    let now = node.ports.clock.now();
    if !guest.bot.hours.is_open(now) {
        return Err(Refusal::OutsideActiveHours { now, next: guest.bot.hours.next_open(now) });
    }
    let addresses = &node.sockets.addresses;
    let place = addresses.enter(guest.address).ok_or(Refusal::TooMany(addresses.most()))?;
    Ok((response, spoken, place))
}

fn upgrade_response(request: &Request) -> Result<Response, Refusal> {
    create_response_with_body(request, Body::empty).map_err(|error| Refusal::NotWebSocket(error.to_string()))
}

/// The first of the client's sub-protocols that is spoken here; others are passed over, as RFC 6455 §4.2.2 lets us.
fn agreed(headers: &HeaderMap) -> Option<&'static str> {
    let asked = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    asked
        .flat_map(|value| value.split(','))
        .find_map(|asked| SUBPROTOCOLS.iter().copied().find(|known| *known == asked.trim()))
}

fn settings(node: &Node, bot: &Bot, spoken: Spoken, subprotocol: Option<&'static str>) -> dialect::Settings {
    let websocket = &bot.websocket;
    let mut id = [0; 8];
    node.ports.entropy.fill(&mut id);
    dialect::Settings {
        dialect: spoken.dialect.or_else(|| websocket.dialect.map(dialect::Name::from)),
        subprotocol: subprotocol.map(str::to_owned),
        codec: spoken.codec,
        rate: spoken.rate,
        chunk_ms: websocket.chunk_ms,
        id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The bench's path: no bot, no door and no slot are between a socket and the media threads that it measures.
fn to_bench(node: &Arc<Node>, bench: Bench, request: Request) -> Response {
    let fit = upgrade_response(&request).and_then(|response| Ok((response, Spoken::read(request.uri().query())?)));
    let (response, spoken) = match fit {
        Ok(fit) => fit,
        Err(refusal) => return refusal.into_response(),
    };
    let Spoken { dialect, codec, rate } = spoken;
    let settings = dialect::Settings { dialect, codec, rate, ..dialect::Settings::default() };
    let desk = BenchDesk { node: node.clone(), bench };
    upgrade(node, settings, request, desk, (Span::none(), None));
    response
}

fn upgrade<R>(
    node: &Arc<Node>,
    settings: dialect::Settings,
    mut request: Request,
    reception: R,
    (span, place): (Span, Option<Place>),
) where
    R: Reception + 'static,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let greeting = Greeting {
        settings,
        wall: node.ports.clock.now(),
        limits: node.sockets.limits,
        going: node.sockets.going.clone(),
    };
    let socket = async move {
        let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE_LIMIT, upgrade).await else {
            metrics::counter!("ringfleet_ws_ended_total", "reason" => "not_upgraded").increment(1);
            return;
        };
        let open = metrics::gauge!("ringfleet_ws_open");
        open.increment(1.0);
        hold(TokioIo::new(upgraded), greeting, reception).await;
        open.decrement(1.0);
        drop(place);
    };
    node.sockets.tasks.spawn(socket.instrument(span));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_protocol_is_agreed_to_if_it_is_spoken_here() {
        let check = |asked: &[&str], expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in asked {
                headers.append(SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
            }
            assert_eq!(agreed(&headers), expect, "{asked:?}");
        };
        check(&[], None);
        check(&["audio.jambonz.org"], Some("audio.jambonz.org"));
        check(&["chat, audiostream.drachtio.org"], Some("audiostream.drachtio.org"));
        check(&["chat", "audio.jambonz.org"], Some("audio.jambonz.org"));
        check(&["chat,soap"], None);
        check(&["AUDIO.jambonz.org"], None);
    }
}
