//! Lambda function `docs`: takes `GET /openapi.json` and `GET /docs`.
//! It must never hold logic: `functions::openapi` does.

mod wiring;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let router = functions::openapi::router(wiring::platform().await?);
    lambda_http::run(router).await
}
