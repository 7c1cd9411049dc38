//! The API's description, OpenAPI 3.1, generated from the types that handlers read and write; served at `/openapi.json`,
//! and to people at `/docs`. It must never describe a route that does not exist, nor leave one out: a test walks both ways.

mod admin;
mod client;
mod operators;
mod refusals;

use axum::Router;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::platform::Platform;
use crate::problem::dress;

/// Where the description lies.
pub const PATH: &str = "/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ringfleet",
        description = "Phone calls that an AI holds. `POST /api/v1/dialout` places a call; its result is read here or \
                       pushed into your CRM. Every refusal is an RFC 9457 problem whose `code` is a machine word."
    ),
    tags(
        (name = "calls", description = "Place calls and read what came of them"),
        (name = "fleet", description = "How many calls fit right now"),
        (name = "admin", description = "Bots, trunks, keys, calls and the fleet; needs a key of role `admin`"),
    ),
    modifiers(&Key),
)]
struct Description;

/// The scheme that every secured operation names.
struct Key;

impl utoipa::Modify for Key {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = ApiKeyValue::with_description("X-API-Key", "A key that the platform minted or an admin imported");
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(scheme)));
    }
}

/// The whole description.
pub fn description() -> utoipa::openapi::OpenApi {
    let mut all = Description::openapi();
    all.merge(client::Paths::openapi());
    all.merge(admin::Paths::openapi());
    all.merge(operators::Paths::openapi());
    refusals::complete(&mut all);
    all
}

pub(crate) fn routes() -> Router<Platform> {
    // No validator: the page must ask nobody but this platform.
    let config = Config::default().validator_url("none").try_it_out_enabled(true);
    SwaggerUi::new("/docs").url(PATH, description()).config(config).into()
}

/// This function's routes alone.
pub fn router(platform: Platform) -> Router {
    dress(routes().with_state(platform))
}

#[cfg(test)]
mod tests;
