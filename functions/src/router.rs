//! All HTTP of the control plane as one router: what local mode serves, and what API Gateway spreads over functions.
//! It must never hold a handler.

use axum::Router;

use crate::platform::Platform;
use crate::problem::dress;
use crate::{admin, calls, dialout, fleet_health, openapi};

/// Every route, with problems for all else.
pub fn api(platform: &Platform) -> Router {
    let routes = Router::new()
        .merge(dialout::routes().with_state(platform.into()))
        .merge(fleet_health::routes().with_state(platform.into()))
        .merge(calls::routes().with_state(platform.into()))
        .merge(admin::routes().with_state(platform.into()))
        .merge(openapi::routes());
    dress(routes)
}
