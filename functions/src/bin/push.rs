//! Lambda function `push`: takes messages of the queue `deliveries`.
//! It must never hold logic: `functions::push` does.

mod wiring;

use std::convert::Infallible;

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, run, service_fn};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    let platform = &wiring::platform().await?;
    run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let handle = |job| async move { functions::push::handle(platform, &job).await };
        Ok::<_, Infallible>(functions::event::batch(event.payload, handle).await)
    }))
    .await
}
