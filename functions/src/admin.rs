//! `/api/v1/admin`: bots, trunks, keys and calls, for keys of role `admin`.
//! It must never answer with a secret that was not minted in the very same request.

pub mod keys;

mod bots;
mod calls;
mod crud;
mod entity;
mod secrets;
mod trunks;

use axum::Router;
use domain::bot::Bot;
use domain::trunk::Trunk;

use crate::platform::Platform;
use crate::problem::dress;

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .merge(crud::routes::<Bot>("/api/v1/admin/bots"))
        .merge(crud::routes::<Trunk>("/api/v1/admin/trunks"))
        .merge(keys::routes())
        .merge(calls::routes())
}

/// This function's routes alone.
pub fn router(platform: Platform) -> Router {
    dress(routes().with_state(platform))
}

#[cfg(test)]
mod tests;
