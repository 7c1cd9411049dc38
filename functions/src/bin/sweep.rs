//! Lambda function `sweep`: sends again what fell due, every minute.
//! It must never hold logic: `functions::sweep` does.

mod wiring;

use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let platform = &wiring::platform().await?;
    run(service_fn(|_: LambdaEvent<Value>| async move {
        functions::sweep::pass(platform).await.map(drop).map_err(|cause| cause.to_string())
    }))
    .await
}
