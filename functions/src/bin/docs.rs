//! Lambda function `docs`: takes `GET /openapi.json` and `GET /docs`.
//! It must never hold logic: `functions::openapi` does.

use functions::{lambda, openapi};
use infra::config::functions::{Docs, settings};

/// There is nothing to count.
struct Quiet;

impl lambda::Around for Quiet {
    fn after(&self) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let config: Docs = settings()?;
    infra::telemetry::init(&config.telemetry)?;
    lambda::http(openapi::router(), Quiet).await
}
