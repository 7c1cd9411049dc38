//! An EC2 instance of an Auto Scaling group, as the machine under a fleet server: what is to become of it says the
//! instance metadata service (IMDSv2), and the group waits at its hook for a word that the instance may go.
//! It must never speak IMDSv1, and never tell a group anything about another instance.

mod imds;

use async_trait::async_trait;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use domain::machine::Fate;
use domain::ports::{Machine, StoreError};

pub use imds::Imds;

use crate::errors::store_error;

const WHAT: &str = "the Auto Scaling group";
/// What a group answers for an instance that does not wait at the hook: not yet, no more, or no such hook.
const NOBODY_WAITS: &str = "ValidationError";
const CONTINUE: &str = "CONTINUE";

/// The instance that this process runs on.
#[derive(Debug, Clone)]
pub struct Instance {
    pub imds: Imds,
    pub auto_scaling: Client,
    pub id: String,
    /// Of the group.
    pub group: String,
    /// Of the group's hook for instances that terminate.
    pub hook: String,
}

#[async_trait]
impl Machine for Instance {
    async fn fate(&self) -> Result<Fate, StoreError> {
        // One that is interrupted goes sooner than one that the group takes out.
        if let Some(within) = self.imds.interruption().await? {
            return Ok(Fate::Goes { within: Some(within) });
        }
        let ends = self.imds.is_terminated_by_group().await?;
        Ok(if ends { Fate::Goes { within: None } } else { Fate::Stays })
    }

    async fn hold(&self) -> Result<bool, StoreError> {
        let request = self.auto_scaling.record_lifecycle_action_heartbeat();
        let request = request.auto_scaling_group_name(&self.group).lifecycle_hook_name(&self.hook);
        waited(request.instance_id(&self.id).send().await)
    }

    async fn release(&self) -> Result<bool, StoreError> {
        let request = self.auto_scaling.complete_lifecycle_action().lifecycle_action_result(CONTINUE);
        let request = request.auto_scaling_group_name(&self.group).lifecycle_hook_name(&self.hook);
        waited(request.instance_id(&self.id).send().await)
    }
}

/// Whether the group waited for this word.
fn waited<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Result<bool, StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(_) => Ok(true),
        Err(SdkError::ServiceError(service)) if service.err().code() == Some(NOBODY_WAITS) => {
            tracing::debug!(why = service.err().message().unwrap_or_default(), "the group does not wait at the hook");
            Ok(false)
        }
        Err(error) => Err(store_error(WHAT, error)),
    }
}
