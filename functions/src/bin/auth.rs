//! Lambda function `auth`: the REQUEST authorizer of the API.
//! It must never hold logic: `functions::auth` does.

mod wiring;

use functions::auth::{AuthorizerRequest, authorize};
use lambda_runtime::{LambdaEvent, run, service_fn};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let platform = &wiring::platform().await?;
    run(service_fn(|event: LambdaEvent<AuthorizerRequest>| async move {
        // The error's text is API Gateway's contract; see `AuthorizerError`.
        authorize(platform, &event.payload).await.map_err(|refusal| refusal.to_string())
    }))
    .await
}
