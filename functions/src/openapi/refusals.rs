//! What every operation may refuse with, added by what the operation is: secured, with a body, with a path parameter.
//! It must never describe an answer that only one operation gives: that stands with the operation.

use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{Content, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::problem::Body;

/// Adds the common refusals, where an operation does not describe that status itself.
pub(super) fn complete(api: &mut OpenApi) {
    let components = api.components.get_or_insert_default();
    components.schemas.insert(Body::name().into_owned(), Body::schema());
    let mut referred = Vec::new();
    Body::schemas(&mut referred);
    components.schemas.extend(referred);
    for (path, item) in &mut api.paths.paths {
        let admin = path.starts_with("/api/v1/admin/");
        for operation in operations(item) {
            add(operation, admin);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn add(operation: &mut Operation, admin: bool) {
    let secured = operation.security.as_ref().is_some_and(|needs| !needs.is_empty());
    let has_body = operation.request_body.is_some();
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let has = |place: &ParameterIn| {
        parameters.iter().any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == *place))
    };
    let (has_path, has_query) = (has(&ParameterIn::Path), has(&ParameterIn::Query));
    let mut may = |applies: bool, status: &str, what: &str| {
        if applies {
            operation.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(what)));
        }
    };
    may(has_path || has_query, "400", "`bad_request`: the path or query is not readable");
    may(secured, "401", "`unauthorized`: the key is missing, malformed, unknown, revoked or expired");
    may(admin, "403", "`forbidden`: this needs a key of role `admin`");
    may(has_path, "404", "`not_found`: there is none, or not for this key");
    may(has_body, "413", "`body_too_large`");
    may(has_body, "415", "`content_encoding`: bodies come as they are");
    may(has_body || has_query, "422", "`invalid`: `errors` says what, where, and what would be right");
    may(true, "500", "`internal`");
    may(true, "503", "`unavailable`: a store does not answer; `Retry-After` says when to ask again");
}

/// A problem as a response.
pub(super) fn problem(what: &str) -> Response {
    let schema = RefOr::Ref(Ref::from_schema_name(Body::name()));
    ResponseBuilder::new().description(what).content("application/problem+json", Content::new(Some(schema))).build()
}
