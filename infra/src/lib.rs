//! What reaches the outside world: the adapters of `domain::ports` over DynamoDB, SQS, S3, Secrets Manager and HTTP,
//! and configuration, telemetry and the clock.
//! It must never decide anything about calls, bots or deliveries, and never know whether it runs on AWS or on a laptop:
//! local mode is another endpoint, not another path.
#![forbid(unsafe_code)]

pub mod adapters;
mod age;
pub mod aws;
pub mod clock;
pub mod config;
pub mod dynamodb;
mod errors;
pub mod failpoint;
#[cfg(test)]
mod fake_service;
pub mod fleet_client;
pub mod guarded;
pub mod lifecycle;
pub mod s3;
pub mod schema;
pub mod seal;
pub mod secrets;
pub mod sqs;
pub mod supervisor;
pub mod telemetry;
