//! The API's description, OpenAPI 3.1, generated from the types that handlers read and write; served at `/openapi.json`,
//! and to people at `/docs`. It must never describe a route that does not exist, nor leave one out: a test walks both ways;
//! nor say where it lies itself: the stage of an API or somebody's proxy may stand before its paths.

mod admin;
mod client;
mod operators;
mod refusals;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use http::HeaderValue;
use http::header::LOCATION;
use utoipa::OpenApi;
use utoipa::openapi::Server;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::problem::dress;

/// Where the description lies.
pub const PATH: &str = "/openapi.json";
/// Where people read it.
const PAGE: &str = "/docs";
/// Where the described paths begin, from the description's own address.
const SERVER: &str = ".";
/// The page's first file, from [`PAGE`]. By its name: API Gateway may leave out a slash at the end, and who is sent from
/// there to there goes round in circles.
const FIRST: &str = "docs/index.html";

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
        let scheme = ApiKeyValue::with_description("X-API-Key", "A key that the desk minted or an admin imported");
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
    all.servers = Some(vec![Server::new(SERVER)]);
    all
}

pub(crate) fn routes() -> Router {
    // No validator: the page must ask nobody but this platform.
    let config = Config::new([format!("..{PATH}")]).validator_url("none").try_it_out_enabled(true);
    let page: Router = SwaggerUi::new(PAGE).url(PATH, description()).config(config).into();
    page.layer(map_response(beside))
}

/// The page's own redirect, from `/docs` wherever the browser has found it.
async fn beside(mut response: Response) -> Response {
    let to_page = |to: &HeaderValue| to.as_bytes().strip_suffix(b"/") == Some(PAGE.as_bytes());
    if response.headers().get(LOCATION).is_some_and(to_page) {
        response.headers_mut().insert(LOCATION, HeaderValue::from_static(FIRST));
    }
    response
}

/// This function's routes alone.
pub fn router() -> Router {
    dress(routes())
}

#[cfg(test)]
mod tests;
