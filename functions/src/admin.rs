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

use axum::Router;
use domain::bot::Bot;
use domain::ids::BotId;
use domain::ports::StoreError;
use domain::trunk::Trunk;

use crate::platform::Platform;
use crate::problem::dress;

pub(crate) fn routes() -> Router<Platform> {
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

/// The highest version that a bot ever had, deleted ones too; 0 if none.
pub(crate) async fn last_bot_version(platform: &Platform, id: &BotId) -> Result<u64, StoreError> {
    <Bot as entity::Entity>::last_version(platform, id.as_str()).await
}

/// This function's routes alone.
pub fn router(platform: Platform) -> Router {
    dress(routes().with_state(platform))
}

#[cfg(test)]
mod tests;
