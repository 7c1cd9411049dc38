//! Lambda function `dialout`: takes `POST /api/v1/dialout`.
//! It must never hold logic: `functions::dialout` does.

mod wiring;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let router = functions::dialout::router(wiring::platform().await?);
    lambda_http::run(router).await
}
