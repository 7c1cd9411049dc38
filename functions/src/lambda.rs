//! Runs one function as Lambda does: a router behind API Gateway, a handler behind a queue, a pass behind a schedule.
//! It must never hold what a function does, nor know an adapter: what is to be done around each invocation is given.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::SqsEvent;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use domain::ports::{Job, StoreError};
use lambda_runtime::{Context, Error, LambdaEvent, run, service_fn};
use serde_json::Value;

use crate::auth::{self, AuthorizerRequest, authorize};
use crate::event::batch;

/// What a main wants done before and after each invocation.
pub trait Around: Send + Sync + 'static {
    /// Before: a process may have stood still since the last one.
    fn before(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// After: what is not written down now may wait for hours, or for ever.
    fn after(&self);
}

/// What is kept back of an invocation to say what became of its batch.
const LAST_WORD: Duration = Duration::from_secs(2);
/// No function lives longer.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long an invocation may work yet. A runtime that is not Lambda's may name a deadline that is long past: none.
fn left(context: &Context, now: SystemTime) -> Duration {
    context.deadline().duration_since(now).map_or(LONGEST, |left| left.saturating_sub(LAST_WORD).min(LONGEST))
}

/// Answers API Gateway's proxy events.
///
/// # Errors
/// The Runtime API does not answer.
pub async fn http(router: Router, around: impl Around) -> Result<(), Error> {
    let around = Arc::new(around);
    let router = router.layer(from_fn(move |request: Request, next: Next| {
        let around = around.clone();
        async move {
            around.before().await;
            let response = next.run(request).await;
            around.after();
            response
        }
    }));
    lambda_http::run(router).await
}

/// Answers API Gateway's questions who calls.
///
/// # Errors
/// The Runtime API does not answer.
pub async fn authorizer(desk: &auth::Desk, around: &impl Around) -> Result<(), Error> {
    run(service_fn(async |event: LambdaEvent<AuthorizerRequest>| {
        let answer = authorize(desk, &event.payload).await;
        around.after();
        // The error's text is API Gateway's contract; see `AuthorizerError`.
        answer.map_err(|refusal| refusal.to_string())
    }))
    .await
}

/// Takes a queue's batches.
///
/// # Errors
/// The Runtime API does not answer.
pub async fn queue<F, R>(handle: F, around: &impl Around) -> Result<(), Error>
where
    F: Fn(Job) -> R,
    R: Future<Output = Result<(), StoreError>>,
{
    run(service_fn(async |event: LambdaEvent<SqsEvent>| {
        around.before().await;
        let answer = batch(event.payload, left(&event.context, SystemTime::now()), &handle).await;
        around.after();
        Ok::<_, Infallible>(answer)
    }))
    .await
}

/// Does a pass for each event of a schedule.
///
/// # Errors
/// The Runtime API does not answer.
pub async fn schedule<F, R, T>(pass: F, around: &impl Around) -> Result<(), Error>
where
    F: Fn() -> R,
    R: Future<Output = Result<T, StoreError>>,
{
    run(service_fn(async |_: LambdaEvent<Value>| {
        around.before().await;
        let done = pass().await;
        around.after();
        done.map(drop).map_err(|cause| cause.to_string())
    }))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_ends_its_work_before_its_deadline() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |deadline: u64, expect: u64| {
            let mut context = Context::default();
            context.deadline = deadline * 1000;
            assert_eq!(left(&context, now), Duration::from_secs(expect), "{deadline}");
        };
        check(1_000_060, 58);
        check(1_000_001, 0);
        check(600, 900);
        check(2_000_000, 900);
    }
}
