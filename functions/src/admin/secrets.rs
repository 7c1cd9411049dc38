//! Secrets on their way in: `"***"` or absence keeps the stored one, null removes it, any other text is sealed.
//! It must never let text that came from outside stand where sealed text is expected.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::field_error::FieldError;
use domain::secret::{MASK, Sealed, SecretString, for_each_secret, mask};
use domain::validate::check_secret;
use serde::Serialize;
use serde_json::Value;

use super::Desk;
use super::entity::Entity;

/// Random bytes of a minted signing secret.
const MINTED_BYTES: usize = 24;

/// Seals what `incoming` brings and keeps what it leaves of `stored`.
///
/// # Errors
/// Every secret that can't be used, by its place.
pub(super) fn take_in<E: Entity>(
    desk: &Desk,
    id: &str,
    incoming: &mut Value,
    stored: Option<&Value>,
) -> Result<(), Vec<FieldError>> {
    let mut faults = Vec::new();
    let under = E::sealed_under(id);
    let sent = incoming.clone();
    for_each_secret(incoming, E::SECRETS, &mut |pointer, place| {
        let text = place.as_str().map(str::to_owned);
        match text.as_deref() {
            None => faults.push(fault(pointer, "string_type", "a secret is a string")),
            Some(MASK) => match stored.and_then(|stored| counterpart(stored, &sent, pointer)) {
                Some(kept) => *place = under_newest_key(desk, &under, kept),
                None => {
                    faults.push(fault(pointer, "nothing_to_keep", "there is no stored secret that *** could stand for"))
                }
            },
            Some(text) => {
                let secret = SecretString::from(text);
                match check_secret(pointer, &secret) {
                    Ok(()) => *place = Value::String(desk.seal.seal(&under, &secret).0),
                    Err(why) => faults.push(why),
                }
            }
        }
    });
    if let Some(stored) = stored {
        keep_absent::<E>(incoming, stored, &|kept| under_newest_key(desk, &under, kept));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// A stored secret as it is kept: once data keys change, no new version is sealed under an old one.
fn under_newest_key(desk: &Desk, under: &str, kept: Value) -> Value {
    let seal = &desk.seal;
    let Some(sealed) = kept.as_str().map(|text| Sealed(text.to_owned())) else { return kept };
    if seal.key_of(&sealed) == seal.keys().into_iter().next() {
        return kept;
    }
    match seal.open(under, &sealed) {
        Ok(secret) => Value::String(seal.seal(under, &secret).0),
        // It is no worse for being kept; whoever needs it says so.
        Err(_) => kept,
    }
}

/// Puts stored secrets where their parent came again and they did not.
fn keep_absent<E: Entity>(incoming: &mut Value, stored: &Value, keep: &dyn Fn(Value) -> Value) {
    let sent = incoming.clone();
    for pattern in E::SECRETS {
        for pointer in places(&sent, pattern) {
            let Some((parent, name)) = pointer.rsplit_once('/') else { continue };
            if let Some(Value::Object(members)) = incoming.pointer_mut(parent)
                && !members.contains_key(name)
                && let Some(secret) = counterpart(stored, &sent, &pointer)
            {
                members.insert(name.to_owned(), keep(secret));
            }
        }
    }
}

/// The concrete pointers that a pattern of [`domain::secret`] has in `value`, up to and without its last member.
fn places(value: &Value, pattern: &str) -> Vec<String> {
    match pattern.split_once("/*") {
        None => vec![pattern.to_owned()],
        Some((list, rest)) => {
            let items = value.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
            (0..items).map(|index| format!("{list}/{index}{rest}")).collect()
        }
    }
}

/// The stored secret that the place `pointer` of what was sent stands for. An item of a list is known by what it is and
/// where it leads, not by where it stands: a key must not go to another vendor because the list was put in another order.
fn counterpart(stored: &Value, sent: &Value, pointer: &str) -> Option<Value> {
    let parts: Vec<&str> = pointer.split('/').collect();
    let Some(at) = parts.iter().position(|part| part.parse::<usize>().is_ok()) else {
        return stored.pointer(pointer).cloned();
    };
    let (list, rest) = (parts[..at].join("/"), format!("/{}", parts[at + 1..].join("/")));
    let index: usize = parts[at].parse().ok()?;
    let item = sent.pointer(&list)?.get(index)?;
    let before = stored.pointer(&list)?.as_array()?;
    let same = |other: &&Value, names: &[&str]| names.iter().all(|name| other.get(name) == item.get(name));
    let alike: Vec<&Value> = before.iter().filter(|other| same(other, &["vendor", "base_url"])).collect();
    let whole = ["vendor", "base_url", "model", "voice"];
    let same_place = before.get(index).filter(|other| alike.contains(other));
    let found = alike.iter().copied().find(|other| same(other, &whole)).or(same_place).or(alike.first().copied());
    found?.pointer(&rest).cloned()
}

/// A secret made here, to be shown once.
pub(super) struct Minted {
    member: &'static str,
    secret: String,
}

/// Mints a signing secret for every endpoint that came without one; an explicit null stays unsigned.
pub(super) fn mint<E: Entity>(desk: &Desk, id: &str, incoming: &mut Value) -> Vec<Minted> {
    let mut minted = Vec::new();
    for member in E::SIGNING {
        let Some(Value::Object(endpoint)) = incoming.get_mut(*member) else { continue };
        if endpoint.contains_key("secret") {
            continue;
        }
        let mut bytes = [0; MINTED_BYTES];
        desk.entropy.fill(&mut bytes);
        let secret = format!("whsec_{}", STANDARD.encode(bytes));
        let sealed = desk.seal.seal(&E::sealed_under(id), &SecretString::from(secret.as_str()));
        endpoint.insert("secret".to_owned(), Value::String(sealed.0));
        minted.push(Minted { member, secret });
    }
    minted
}

/// The entity as an admin reads it: every secret masked, but for those minted just now.
pub(super) fn shown<E: Entity + Serialize>(entity: &E, minted: &[Minted]) -> Value {
    let mut value = serde_json::to_value(entity).expect("an entity came from JSON and goes back");
    mask(&mut value, E::SECRETS);
    for Minted { member, secret } in minted {
        value[*member]["secret"] = Value::String(secret.clone());
    }
    value
}

fn fault(pointer: &str, kind: &str, msg: &str) -> FieldError {
    let path: Vec<&str> = pointer.split('/').skip(1).collect();
    FieldError::at(&path, kind, msg)
}
