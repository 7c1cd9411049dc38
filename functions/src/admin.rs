//! `/api/v1/admin`: bots, trunks, keys, calls and the fleet, for keys of role `admin`.
//! It must never answer with a secret that was not minted in the very same request.

pub mod keys;

mod bots;
pub(crate) mod calls;
pub(crate) mod connect_tokens;
mod crud;
pub(crate) mod endpoints;
mod entity;
pub(crate) mod erase;
pub(crate) mod fleet;
pub(crate) mod preview;
pub(crate) mod reseal;
mod secrets;
mod trunks;
pub(crate) mod versions;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use domain::bot::Bot;
use domain::ids::BotId;
use domain::ports::{
    Bots, Calls, Clock, Deliveries, Egress, Endpoints, Entropy, Fleet, Housekeeping, Seal, Secrets, Servers,
    StoreError, Trunks,
};
use domain::trunk::Trunk;

use crate::auth;
use crate::calls::list;
use crate::memory::Memory;
use crate::problem::dress;
use crate::push::resend;
use crate::result::Archive;

/// What it takes to run the platform.
#[derive(Clone, derive_more::Debug)]
#[debug("admin::Desk")]
pub struct Desk {
    pub auth: auth::Desk,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub bots: Arc<dyn Bots>,
    pub trunks: Arc<dyn Trunks>,
    pub calls: Arc<dyn Calls>,
    pub deliveries: Arc<dyn Deliveries>,
    pub endpoints: Arc<dyn Endpoints>,
    pub housekeeping: Arc<dyn Housekeeping>,
    pub servers: Arc<dyn Servers>,
    /// Of the same process's dialouts, if it has any.
    pub memory: Arc<Memory>,
    pub egress: Arc<dyn Egress>,
    pub fleet: Arc<dyn Fleet>,
    pub secrets: Arc<dyn Secrets>,
    pub seal: Arc<dyn Seal>,
    pub archive: Archive,
    pub keys: keys::Desk,
    pub list: list::Desk,
    pub resend: resend::Desk,
    pub erase: crate::erase::Desk,
    pub reseal: crate::reseal::Desk,
    /// How diallers reach the fleet's WebSocket ports, if there is one name for all of them.
    pub ws_public_url: Option<String>,
}

impl FromRef<Desk> for auth::Desk {
    fn from_ref(desk: &Desk) -> Self {
        desk.auth.clone()
    }
}

impl FromRef<Desk> for keys::Desk {
    fn from_ref(desk: &Desk) -> Self {
        desk.keys.clone()
    }
}

pub(crate) fn routes() -> Router<Desk> {
    Router::new()
        .merge(crud::routes::<Bot>("/api/v1/admin/bots"))
        .merge(crud::routes::<Trunk>("/api/v1/admin/trunks"))
        .merge(keys::routes())
        .merge(endpoints::routes())
        .merge(connect_tokens::routes())
        .merge(calls::routes())
        .merge(fleet::routes())
        .merge(preview::routes())
        .merge(versions::routes())
        .merge(erase::routes())
        .merge(reseal::routes())
}

/// The highest version that a bot ever had, deleted ones too; 0 if none. Doubles until a version is missing, then halves:
/// versions have no gaps.
pub(crate) async fn last_bot_version(bots: &dyn Bots, id: &BotId) -> Result<u64, StoreError> {
    let exists = async |version: u64| bots.version(id, version).await.map(|bot| bot.is_some());
    let mut missing = 1;
    while exists(missing).await? {
        missing *= 2;
    }
    let mut last = missing / 2;
    while missing - last > 1 {
        let middle = last + (missing - last) / 2;
        if exists(middle).await? { last = middle } else { missing = middle }
    }
    Ok(last)
}

/// This function's routes alone.
pub fn router(desk: Desk) -> Router {
    dress(routes().with_state(desk))
}

#[cfg(test)]
mod tests;
