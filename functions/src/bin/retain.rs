//! Lambda function `retain`: deletes what bots don't keep any longer, every hour.
//! It must never hold logic: `functions::retain` does.

mod wiring;

use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let platform = &wiring::platform().await?;
    run(service_fn(|_: LambdaEvent<Value>| async move {
        functions::retain::pass(platform).await.map(drop).map_err(|cause| cause.to_string())
    }))
    .await
}
