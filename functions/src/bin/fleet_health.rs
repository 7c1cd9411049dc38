//! Lambda function `fleet_health`: takes `GET /health` and `GET /health/fleet`.
//! It must never hold logic: `functions::fleet_health` does.

mod wiring;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let router = functions::fleet_health::router(wiring::platform().await?);
    lambda_http::run(router).await
}
