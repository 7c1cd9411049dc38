//! The result of an ended call, put together from its row and its objects.
//! It must never write, and never answer anything but what lies there: a missing object is an empty part.

use std::sync::Arc;

use bytes::Bytes;
use domain::call::{AnalysisStatus, Brought, CallRow, RecordingStatus};
use domain::objects::CallObjects;
use domain::ports::{Objects, StoreError};
use domain::result::{CallResult, Record};
use domain::retention::Kind;
use domain::variables::Fields;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Where results lie, and how they are named to the outside.
#[derive(Clone, derive_more::Debug)]
#[debug("Archive")]
pub struct Archive {
    pub objects: Arc<dyn Objects>,
    /// Where clients reach this API, without a trailing slash; recording URLs begin with it.
    pub public_url: Arc<str>,
}

impl Archive {
    pub fn new(objects: Arc<dyn Objects>, public_url: &str) -> Self {
        Self { objects, public_url: public_url.trim_end_matches('/').into() }
    }
}

/// What `analysis.json` holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The result's `post_call_analysis`.
    #[serde(default)]
    pub analysis: Map<String, Value>,
    /// Why there is none, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An ended call, whole.
#[derive(Debug, Clone)]
pub struct Ended {
    pub result: CallResult,
    pub record: Record,
}

impl Ended {
    /// Reads an ended call's objects; `None` while the call is live.
    ///
    /// # Errors
    /// When the bucket does not answer, or holds something unreadable.
    pub async fn read(archive: &Archive, row: &CallRow) -> Result<Option<Self>, StoreError> {
        if row.end_reason.is_none() {
            return Ok(None);
        }
        let record = record(&*archive.objects, row).await?.unwrap_or_default();
        let analysis = analysis(&*archive.objects, row).await?;
        Ok(Self::of(&archive.public_url, row, record, analysis.analysis))
    }

    /// As [`Ended::read`], of parts that are at hand.
    pub fn of(public_url: &str, row: &CallRow, record: Record, analysis: Map<String, Value>) -> Option<Self> {
        let record = record.without(&row.expired);
        let analysis = if row.expired.contains(&Kind::Transcript) { Map::new() } else { analysis };
        let variables =
            record.variables.as_deref().and_then(|raw| Fields::of_object(raw.get())).unwrap_or_default().stringified();
        let mut result = CallResult::of(row, &record, analysis, variables, recording_url(public_url, row))?;
        if row.expired.contains(&Kind::Recording) {
            result.recording_status = RecordingStatus::None;
        }
        Some(Self { result, record })
    }
}

/// The stable URL of a call's recording; `""` where there is none and never will be, or none any more.
pub fn recording_url(public_url: &str, row: &CallRow) -> String {
    match row.recording_status {
        _ if row.expired.contains(&Kind::Recording) => String::new(),
        RecordingStatus::None | RecordingStatus::Lost => String::new(),
        RecordingStatus::Pending | RecordingStatus::Complete | RecordingStatus::Partial => {
            format!("{public_url}/api/v1/recordings/{}.wav?token={}", row.call_id, row.recording_token)
        }
    }
}

/// The call's record; `None` if it is not stored (yet).
///
/// # Errors
/// When the bucket does not answer, or holds something unreadable.
pub async fn record(objects: &dyn Objects, row: &CallRow) -> Result<Option<Record>, StoreError> {
    read_json(objects, &CallObjects::of(row).record()).await
}

/// The call's analysis; empty while it is pending or if it failed.
///
/// # Errors
/// When the bucket does not answer, or holds something unreadable.
pub async fn analysis(objects: &dyn Objects, row: &CallRow) -> Result<Analysis, StoreError> {
    if row.analysis_status == AnalysisStatus::Pending || row.expired.contains(&Kind::Transcript) {
        return Ok(Analysis::default());
    }
    Ok(read_json(objects, &CallObjects::of(row).analysis()).await?.unwrap_or_default())
}

/// The dialout's variables as they were received.
///
/// # Errors
/// When the bucket does not answer, or holds something unreadable.
pub async fn variables(objects: &dyn Objects, row: &CallRow) -> Result<Option<Box<RawValue>>, StoreError> {
    match row.brought.as_ref().and_then(Brought::variables) {
        Some(in_the_row) => Ok(Some(in_the_row)),
        None => read_json(objects, &CallObjects::of(row).variables()).await,
    }
}

/// The custom `call.*` fields that the far side of an inbound call sent.
///
/// # Errors
/// When the bucket does not answer, or holds something unreadable.
pub async fn custom(objects: &dyn Objects, row: &CallRow) -> Result<Option<Fields>, StoreError> {
    match row.brought.as_ref().and_then(Brought::custom) {
        Some(in_the_row) => Ok(Some(in_the_row)),
        None => read_json(objects, &CallObjects::of(row).custom()).await,
    }
}

pub(crate) async fn read_json<T: DeserializeOwned>(objects: &dyn Objects, key: &str) -> Result<Option<T>, StoreError> {
    let Some(bytes) = objects.get(key).await? else { return Ok(None) };
    // The parser's words may quote the object; its place is enough.
    serde_json::from_slice(&bytes).map(Some).map_err(|fault| StoreError::Corrupt {
        what: "bucket",
        cause: format!("{key} at line {} column {}", fault.line(), fault.column()),
    })
}

pub(crate) async fn write_json<T: Serialize + Sync>(
    objects: &dyn Objects,
    key: &str,
    value: &T,
) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|fault| StoreError::Corrupt { what: "bucket", cause: format!("{key}: {fault}") })?;
    objects.put(key, "application/json", Bytes::from(bytes)).await
}
