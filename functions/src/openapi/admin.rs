//! The admin API's operations on what admins keep: bots, trunks and keys.
//! It must never hold a type that a handler has: the handler's own is described.

#![expect(dead_code, reason = "these functions carry descriptions; the handlers are elsewhere")]

use domain::bot::Bot;
use domain::trunk::Trunk;
use utoipa::{OpenApi, ToSchema};

use crate::admin::connect_tokens::{Asked as NewConnectToken, Shown as ConnectToken};
use crate::admin::endpoints::Shown as BotEndpoint;
use crate::admin::keys::change::Wanted as KeyChange;
use crate::admin::keys::{NewKey, Shown as Key};
use crate::admin::preview::{Asked as PreviewRequest, Preview};
use crate::admin::versions::Lines as BotVersions;
use crate::problem::Body as Problem;

#[derive(OpenApi)]
#[openapi(paths(
    list_bots,
    create_bot,
    read_bot,
    replace_bot,
    delete_bot,
    list_versions,
    read_version,
    list_endpoints,
    create_connect_token,
    preview_push,
    list_trunks,
    create_trunk,
    read_trunk,
    replace_trunk,
    delete_trunk,
    list_keys,
    create_key,
    read_key,
    replace_key,
    delete_key,
))]
pub(super) struct Paths;

/// A list.
#[derive(ToSchema)]
struct Items<T: ToSchema> {
    items: Vec<T>,
}

/// The operations that are the same for every kind of entity.
macro_rules! entity {
    ($shown:ty, $new:ty, $wanted:ty, $noun:literal, $at:literal, $one:literal,
     $list:ident, $create:ident, $read:ident, $replace:ident, $delete:ident) => {
        #[utoipa::path(
            get, path = $at, tag = "admin", security(("key" = [])), summary = concat!("List ", $noun, "s"),
            responses((status = 200, description = "All of them", body = Items<$shown>))
        )]
        fn $list() {}

        #[utoipa::path(
            post, path = $at, tag = "admin", security(("key" = [])), summary = concat!("Create a ", $noun),
            request_body = $new,
            responses(
                (status = 201, description = "Stored; secrets that were minted are shown this once", body = $shown,
                 headers(("ETag" = String), ("Location" = String, description = "From the address of the request"))),
                (status = 409, description = "`exists`, `number_taken`", body = Problem, content_type = "application/problem+json"),
                (status = 412, description = "`precondition_failed`: a creation has no If-Match", body = Problem, content_type = "application/problem+json"),
            )
        )]
        fn $create() {}

        #[utoipa::path(
            get, path = $one, tag = "admin", security(("key" = [])), summary = concat!("Read a ", $noun),
            params(("id" = String, Path)),
            responses((status = 200, description = "As it is now; secrets read as \"***\"", body = $shown, headers(("ETag" = String))))
        )]
        fn $read() {}

        #[utoipa::path(
            put, path = $one, tag = "admin", security(("key" = [])), summary = concat!("Replace a ", $noun),
            description = "Needs `If-Match` with the ETag that was read.", request_body = $wanted,
            params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
            responses(
                (status = 200, description = "Stored as the next version", body = $shown, headers(("ETag" = String))),
                (status = 409, description = "`number_taken`, `own_key`, `last_admin_key`", body = Problem, content_type = "application/problem+json"),
                (status = 412, description = "`precondition_failed`: it has changed since you read it", body = Problem, content_type = "application/problem+json"),
                (status = 428, description = "`precondition_required`: If-Match is missing", body = Problem, content_type = "application/problem+json"),
            )
        )]
        fn $replace() {}

        #[utoipa::path(
            delete, path = $one, tag = "admin", security(("key" = [])), summary = concat!("Delete a ", $noun),
            params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
            responses(
                (status = 204, description = "Deleted; calls under way keep their version"),
                (status = 409, description = "`own_key`, `last_admin_key`", body = Problem, content_type = "application/problem+json"),
                (status = 412, description = "`precondition_failed`: it has changed since you read it", body = Problem, content_type = "application/problem+json"),
            )
        )]
        fn $delete() {}
    };
}

entity!(
    Bot,
    Bot,
    Bot,
    "bot",
    "/api/v1/admin/bots",
    "/api/v1/admin/bots/{id}",
    list_bots,
    create_bot,
    read_bot,
    replace_bot,
    delete_bot
);
entity!(
    Trunk,
    Trunk,
    Trunk,
    "trunk",
    "/api/v1/admin/trunks",
    "/api/v1/admin/trunks/{id}",
    list_trunks,
    create_trunk,
    read_trunk,
    replace_trunk,
    delete_trunk
);
entity!(
    Key<'_>,
    NewKey,
    KeyChange,
    "key",
    "/api/v1/admin/keys",
    "/api/v1/admin/keys/{id}",
    list_keys,
    create_key,
    read_key,
    replace_key,
    delete_key
);

/// List a bot's versions
#[utoipa::path(
    get, path = "/api/v1/admin/bots/{id}/versions", tag = "admin", security(("key" = [])),
    params(
        ("id" = String, Path),
        ("before" = Option<u64>, Query, minimum = 1, description = "`next_before` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
    ),
    responses((status = 200, description = "Newest first; of deleted bots too", body = BotVersions))
)]
fn list_versions() {}

/// Read a bot as it was
#[utoipa::path(
    get, path = "/api/v1/admin/bots/{id}/versions/{version}", tag = "admin", security(("key" = [])),
    params(("id" = String, Path), ("version" = u64, Path, minimum = 1)),
    responses((status = 200, description = "That version; secrets read as \"***\"", body = Bot))
)]
fn read_version() {}

/// How a bot's endpoints do
///
/// What their breakers do, and whether one is disabled since it answered 410.
#[utoipa::path(
    get, path = "/api/v1/admin/bots/{id}/endpoints", tag = "admin", security(("key" = [])),
    params(("id" = String, Path)),
    responses((status = 200, description = "Those that something is known of", body = Items<BotEndpoint>))
)]
fn list_endpoints() {}

/// Make a connect token
///
/// What a dialler shows instead of an API key to be let in to this one bot by WebSocket, while `websocket.access` is `key`:
/// in the URL as `?token=`, or wherever a key may stand. It is kept nowhere; the bot's `websocket.tokens_after` takes back
/// all that were made before.
#[utoipa::path(
    post, path = "/api/v1/admin/bots/{id}/connect-tokens", tag = "admin", security(("key" = [])),
    params(("id" = String, Path)), request_body = NewConnectToken,
    responses((status = 201, description = "Shown this once", body = ConnectToken))
)]
fn create_connect_token() {}

/// Preview a push
///
/// Renders the key mapper against a past call or a sample, and names what is probably misspelt. Nothing is sent.
#[utoipa::path(
    post, path = "/api/v1/admin/bots/{id}/push/preview", tag = "admin", security(("key" = [])),
    params(("id" = String, Path)), request_body = PreviewRequest,
    responses((status = 200, description = "What would be sent", body = Preview))
)]
fn preview_push() {}
