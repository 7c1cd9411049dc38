//! Who calls, as the authorizer in front of a function has found and API Gateway hands on: key, role and bots. The answer is
//! kept for as long as the authorizer's cache says; until then a key that was revoked still holds.
//! It must never believe a header: only what stands in the request's context, where no client can write.

use std::collections::HashMap;

use domain::api_key::{BotScope, Caller, Role};
use domain::ids::{BotId, KeyId};
use http::request::Parts;
use lambda_http::request::RequestContext;
use serde_json::{Value, json};

/// A context has 8 KiB at most; a longer list of bots is looked up by who needs it.
const BOTS_MAX: usize = 4096;
const ALL: &str = "*";

/// What the authorizer says of a caller: texts alone, as API Gateway wants them.
pub(super) fn context(caller: &Caller) -> Value {
    let mut context = json!({ "key_id": caller.key_id, "role": caller.role });
    let bots = match &caller.bots {
        BotScope::All => ALL.to_owned(),
        BotScope::Only(bots) => bots.iter().map(BotId::as_str).collect::<Vec<_>>().join(","),
    };
    if bots.len() <= BOTS_MAX {
        context["bots"] = bots.into();
    }
    context
}

/// The caller that the request's context names; `None` without an authorizer, and where the context does not say all.
pub(super) fn caller(parts: &Parts) -> Option<Caller> {
    match parts.extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV1(context) => read(&context.authorizer.fields),
        _ => None,
    }
}

fn read(context: &HashMap<String, Value>) -> Option<Caller> {
    let text = |name: &str| context.get(name).and_then(Value::as_str);
    let bots = match text("bots")? {
        ALL => BotScope::All,
        "" => BotScope::Only(Vec::new()),
        list => BotScope::Only(list.split(',').map(BotId::parse).collect::<Result<_, _>>().ok()?),
    };
    let role: Role = serde_json::from_value(context.get("role")?.clone()).ok()?;
    Some(Caller { key_id: KeyId::parse(text("key_id")?).ok()?, role, bots })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_authorizer_says_is_what_a_function_reads() {
        let check = |role: Role, bots: BotScope, whole: bool| {
            let caller = Caller { key_id: KeyId::parse("key_0123456789abcdef").unwrap(), role, bots };
            let context: HashMap<String, Value> = serde_json::from_value(context(&caller)).unwrap();
            assert!(context.values().all(Value::is_string), "{context:?}");
            assert_eq!(read(&context), whole.then_some(caller), "{context:?}");
        };
        let bots =
            |count: usize| BotScope::Only((0..count).map(|n| BotId::parse(format!("bot-{n}")).unwrap()).collect());
        check(Role::Client, BotScope::All, true);
        check(Role::Admin, bots(2), true);
        check(Role::Client, bots(0), true);
        check(Role::Client, bots(1000), false);
        for broken in [json!({}), json!({"key_id": "key_0123456789abcdef", "role": "root", "bots": "*"})] {
            assert_eq!(read(&serde_json::from_value(broken).unwrap()), None);
        }
    }
}
