//! Takes an offered call or says why not: permit, then the row on condition that none exists, and only then "accepted".
//! It must never let an INVITE out before the row is this server's, and never answer twice differently for one call.

use std::sync::Arc;

use domain::bot::Bot;
use domain::call::{CallRow, Direction};
use domain::fleet::{DialAnswer, DialCommand, Refusal};
use domain::share::Over;
use domain::variables::Fields;

use super::kept;
use super::row::{self, Beginning};
use crate::node::Node;
use crate::talk::{self, Accepted, Reach};

/// Answers an offer; the same offer again waits for and gets the same answer. An accepted call starts at once.
pub(crate) async fn offer(node: &Arc<Node>, command: DialCommand) -> DialAnswer {
    if command.server_id != node.identity.server_id || command.epoch != node.identity.epoch {
        return DialAnswer::Refused(Refusal::WrongServer);
    }
    let cell = node.live.offer(command.call_id, &command.trunk_id);
    match cell.get_or_try_init(|| decide(node, command)).await {
        Ok(answer) => *answer,
        Err(unsettled) => DialAnswer::Refused(unsettled.0),
    }
}

/// What is not kept as the answer: the same offer, made again, is decided again.
struct NotDecided(Refusal);

async fn decide(node: &Arc<Node>, command: DialCommand) -> Result<DialAnswer, NotDecided> {
    let call_id = command.call_id;
    match accept(node, command).await {
        Ok(accepted) => {
            tracing::info!(call.id = %call_id, bot.id = %accepted.row.bot_id, "call accepted");
            let node = node.clone();
            node.clone().calls.spawn(talk::run(node, accepted));
            domain::failpoint!("accept.started");
            Ok(DialAnswer::Accepted)
        }
        Err(refusal) => {
            tracing::info!(call.id = %call_id, ?refusal, "call refused");
            metrics::counter!("ringfleet_offers_refused_total", "reason" => format!("{refusal:?}")).increment(1);
            if refusal == Refusal::Unsettled { Err(NotDecided(refusal)) } else { Ok(DialAnswer::Refused(refusal)) }
        }
    }
}

async fn accept(node: &Arc<Node>, command: DialCommand) -> Result<Accepted, Refusal> {
    if node.ports.clock.now() > command.deadline {
        return Err(Refusal::TooLate);
    }
    let (bot, trunk) = tokio::join!(
        node.ports.bots.version(&command.bot_id, command.bot_version),
        node.ports.trunks.get(&command.trunk_id)
    );
    let (Ok(Some(bot)), Ok(Some(trunk))) = (bot, trunk) else {
        return Err(Refusal::Unreadable);
    };
    let permit = node.admission.take(Some(&Over::of(&trunk)))?;
    domain::failpoint!("accept.permit");
    let mut row = beginning(node, &command, &bot);
    let (guard, control) = node.live.enter(row.call_id);
    if bot.recording.enabled {
        row::note(node, &row, &bot);
    }
    domain::failpoint!("accept.begun");
    kept::variables(node, &mut row, command.variables.as_deref()).await;
    if let Err(refusal) = row::claim(node, &row).await {
        // Whoever offered a call that is unsettled asks again, and puts a fence if that does not settle it; a row that
        // stands all the same is an orphan.
        node.finishing.spool().forget(row.call_id);
        if refusal == Refusal::Fenced {
            kept::forget_variables(node, &row).await;
        }
        return Err(refusal);
    }
    domain::failpoint!("accept.claimed");
    Ok(Accepted {
        row,
        bot: Arc::new(bot),
        reach: Reach::Dial(Arc::new(trunk)),
        variables: command.variables,
        custom: Fields::new(),
        permit,
        guard,
        control,
    })
}

fn beginning(node: &Node, command: &DialCommand, bot: &Bot) -> CallRow {
    let call = Beginning {
        call_id: command.call_id,
        at: node.ports.clock.now(),
        bot,
        trunk_id: Some(command.trunk_id.clone()),
        direction: Direction::Outbound,
        to: command.to.clone(),
        from: command.from.clone(),
        key_id: Some(command.key_id.clone()),
        ring_seconds: bot.ring_timeout_seconds,
        warnings: command.warnings.clone(),
    };
    row::of(node, call)
}
