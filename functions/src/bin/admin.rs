//! Lambda function `admin`: the admin API.
//! It must never hold logic: `functions::admin` does.

mod wiring;

#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    let router = functions::admin::router(wiring::platform().await?);
    lambda_http::run(router).await
}
