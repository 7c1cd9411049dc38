//! Lambda function `reap`: ends the calls of lost servers, every minute and within it.
//! It must never hold logic: `functions::reap` does.

mod wiring;

use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let platform = &wiring::platform().await?;
    run(service_fn(|_: LambdaEvent<Value>| async move {
        functions::reap::for_a_minute(platform).await.map(drop).map_err(|cause| cause.to_string())
    }))
    .await
}
