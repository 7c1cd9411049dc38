//! Lambda function `calls`: shows calls, hangs them up, redirects to recordings.
//! It must never hold logic: `functions::calls` does.

mod wiring;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let router = functions::calls::router(wiring::platform().await?);
    lambda_http::run(router).await
}
