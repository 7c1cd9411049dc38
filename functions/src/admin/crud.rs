//! Create, read, replace and delete, once for every kind of entity. The version is the ETag.
//! It must never replace what the admin has not read (`If-Match`), and never drop a member in silence.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use domain::field_error::FieldError;
use domain::ports::{Deletion, Put};
use http::header::{ETAG, IF_MATCH, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::Desk;
use super::entity::Entity;
use super::secrets::{self, Minted};
use crate::auth::Admin;
use crate::body::{CappedBody, typed};
use crate::problem::Refusal;

/// Member of answers, never of an entity.
const WARNINGS: &str = "warnings";

pub(super) fn routes<E: Entity>(at: &str) -> Router<Desk> {
    Router::new()
        .route(at, get(list::<E>).post(create::<E>))
        .route(&format!("{at}/{{id}}"), get(read::<E>).put(replace::<E>).delete(delete::<E>))
}

async fn list<E: Entity>(State(desk): State<Desk>, _: Admin) -> Result<Json<Value>, Refusal> {
    let mut all = E::list(&desk).await?;
    all.sort_by(|a, b| a.id().cmp(b.id()));
    let items: Vec<Value> = all.iter().map(|entity| secrets::shown(entity, &[])).collect();
    Ok(Json(json!({ "items": items })))
}

async fn read<E: Entity>(State(desk): State<Desk>, _: Admin, Path(id): Path<String>) -> Result<Response, Refusal> {
    let entity = E::get(&desk, &id).await?.ok_or(Refusal::NotFound(E::NOUN))?;
    Ok(answer(StatusCode::OK, &entity, &[]))
}

async fn create<E: Entity>(
    State(desk): State<Desk>,
    _: Admin,
    headers: HeaderMap,
    body: CappedBody,
) -> Result<Response, Refusal> {
    let mut incoming = body.object()?;
    let id = incoming.get(E::ID).and_then(Value::as_str).unwrap_or_default().to_owned();
    if headers.get(IF_MATCH).is_some() {
        return Err(Refusal::PreconditionFailed);
    }
    let (mut entity, minted) = accept::<E>(&desk, &id, &mut incoming, None)?;
    if E::get(&desk, &id).await?.is_some() {
        return Err(Refusal::Exists);
    }
    entity.set_version(E::last_version(&desk, &id).await? + 1);
    stored(entity.put(&desk, None).await?, Refusal::Exists)?;
    tracing::info!(kind = E::NOUN, id = entity.id(), "created");
    let mut response = answer(StatusCode::CREATED, &entity, &minted);
    locate(&mut response, E::NOUN, entity.id());
    Ok(response)
}

async fn replace<E: Entity>(
    State(desk): State<Desk>,
    _: Admin,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: CappedBody,
) -> Result<Response, Refusal> {
    let mut incoming = body.object()?;
    let old = E::get(&desk, &id).await?.ok_or(Refusal::NotFound(E::NOUN))?;
    expect_version(&headers, old.version())?;
    let named = incoming.get(E::ID).cloned().unwrap_or_else(|| Value::String(id.clone()));
    if named != id.as_str() {
        return Err(Refusal::Invalid(vec![FieldError::body(E::ID, "id_mismatch", "an entity keeps its id")]));
    }
    incoming[E::ID] = named;
    let before = serde_json::to_value(&old).map_err(|_| Refusal::Internal)?;
    let (mut entity, minted) = accept::<E>(&desk, &id, &mut incoming, Some(&before))?;
    entity.set_version(old.version() + 1);
    stored(entity.put(&desk, Some(old.version())).await?, Refusal::PreconditionFailed)?;
    tracing::info!(kind = E::NOUN, id = entity.id(), version = entity.version(), "replaced");
    Ok(answer(StatusCode::OK, &entity, &minted))
}

async fn delete<E: Entity>(
    State(desk): State<Desk>,
    _: Admin,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let mut version = None;
    if let Some(tag) = headers.get(IF_MATCH) {
        let old = E::get(&desk, &id).await?.ok_or(Refusal::NotFound(E::NOUN))?;
        if !matches(tag, old.version()) {
            return Err(Refusal::PreconditionFailed);
        }
        version = Some(old.version());
    }
    match E::delete(&desk, &id, version).await? {
        Deletion::Missing => Err(Refusal::NotFound(E::NOUN)),
        Deletion::Conflict => Err(Refusal::PreconditionFailed),
        Deletion::Deleted => {
            tracing::info!(kind = E::NOUN, id, "deleted");
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

/// From a body to an entity that may be stored: secrets sealed, every member understood, nothing wrong with it.
fn accept<E: Entity>(
    desk: &Desk,
    id: &str,
    incoming: &mut Value,
    stored: Option<&Value>,
) -> Result<(E, Vec<Minted>), Refusal> {
    // Answers carry it; an admin who sends back what was read means nothing by it.
    if let Value::Object(members) = incoming {
        members.remove(WARNINGS);
    }
    E::complete(incoming);
    secrets::take_in::<E>(desk, id, incoming, stored).map_err(Refusal::Invalid)?;
    let minted = secrets::mint::<E>(desk, id, incoming);
    let entity: E = typed(incoming.clone())?;
    let kept = serde_json::to_value(&entity).map_err(|_| Refusal::Internal)?;
    let mut faults = Vec::new();
    unknown_members(incoming, &kept, &mut Vec::new(), &mut faults);
    faults.extend(entity.faults(desk));
    if faults.is_empty() { Ok((entity, minted)) } else { Err(Refusal::Invalid(faults)) }
}

/// Members of `sent` that did not survive reading: misspelt or not built yet, and either way not what was meant.
fn unknown_members(sent: &Value, kept: &Value, path: &mut Vec<String>, faults: &mut Vec<FieldError>) {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            for (name, value) in sent {
                path.push(name.clone());
                match kept.get(name) {
                    Some(inner) => unknown_members(value, inner, path, faults),
                    None if value.is_null() => {}
                    None => {
                        let at: Vec<&str> = path.iter().map(String::as_str).collect();
                        faults.push(FieldError::at(&at, "extra_forbidden", "unknown field"));
                    }
                }
                path.pop();
            }
        }
        (Value::Array(sent), Value::Array(kept)) => {
            for (index, (value, inner)) in sent.iter().zip(kept).enumerate() {
                path.push(index.to_string());
                unknown_members(value, inner, path, faults);
                path.pop();
            }
        }
        _ => {}
    }
}

fn stored(put: Put, conflict: Refusal) -> Result<(), Refusal> {
    match put {
        Put::Stored => Ok(()),
        Put::Conflict => Err(conflict),
        Put::NumberTaken { number, by } => Err(Refusal::NumberTaken { number, by }),
    }
}

/// A replacement names the version that it was made from.
pub(super) fn expect_version(headers: &HeaderMap, version: u64) -> Result<(), Refusal> {
    match headers.get(IF_MATCH) {
        None => Err(Refusal::PreconditionRequired),
        Some(tag) if !matches(tag, version) => Err(Refusal::PreconditionFailed),
        Some(_) => Ok(()),
    }
}

/// Says where the entity is that was put into the list of all `noun`s just now: from the list's own address (RFC 9110
/// §10.2.2), because nobody here knows what stands before our paths there.
pub(super) fn locate(response: &mut Response, noun: &str, id: &str) {
    if let Ok(location) = HeaderValue::from_str(&format!("{noun}s/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
}

/// Sets the ETag.
pub(super) fn tag(response: &mut Response, version: u64) {
    if let Ok(tag) = HeaderValue::from_str(&etag(version)) {
        response.headers_mut().insert(ETAG, tag);
    }
}

fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Strong comparison (RFC 9110 §13.1.1): a list of tags, or `*`.
pub(super) fn matches(header: &HeaderValue, version: u64) -> bool {
    let wanted = etag(version);
    header.to_str().is_ok_and(|text| text.split(',').map(str::trim).any(|tag| tag == "*" || tag == wanted))
}

fn answer<E: Entity>(status: StatusCode, entity: &E, minted: &[Minted]) -> Response {
    let mut body = secrets::shown(entity, minted);
    let warnings = entity.warnings();
    if !warnings.is_empty() {
        body[WARNINGS] = json!(warnings);
    }
    let mut response = (status, Json(body)).into_response();
    tag(&mut response, entity.version());
    response
}
