//! Speaks the opening into the voice's cache while the phone rings, so that the customer hears it at once.
//! It must never delay a call or fail one: what it does not get done is synthesised when it is said.

use std::sync::Arc;

use domain::bot::Bot;
use domain::template::{Context, Template};

use super::plan;
use crate::node::Node;
use crate::provider::{TtsEvent, UtteranceId};

/// Starts the rehearsal with what is known of the customer now.
pub(super) fn opening(node: &Arc<Node>, bot: &Bot, context: &Context) {
    let first_question = bot.script.as_ref().and_then(|script| script.steps.first()).map(|step| step.question.as_str());
    let texts = [Some(bot.opening_message.as_str()), first_question];
    let text = texts.into_iter().flatten().map(|text| spoken(text, context)).collect::<Vec<_>>().join(" ");
    if text.trim().is_empty() {
        return;
    }
    let Some(mut session) = plan::voice(node, bot) else { return };
    tokio::spawn(async move {
        if session.say(UtteranceId(0), &text, true).is_err() {
            return;
        }
        while let Some(TtsEvent::Audio { .. }) = session.events.recv().await {}
    });
}

/// As the call itself will say it: rendered, white space folded.
fn spoken(text: &str, context: &Context) -> String {
    Template::parse(text).render(context).text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use domain::variables::Fields;

    use super::*;

    #[test]
    fn the_text_is_what_the_call_will_say() {
        let mut crm = Fields::new();
        crm.set_text("name", "Rahul");
        let context = Context::new().with_crm(crm);
        assert_eq!(spoken("Hello,\n am I   speaking with {{crm.name}}?", &context), "Hello, am I speaking with Rahul?");
    }
}
