//! Saves what a lost server left in the bucket: checkpoints become the recording, the last checkpoint record the record.
//! It must never overwrite what a server finished itself, and never delete a checkpoint.

use std::sync::Arc;

use bytes::Bytes;
use domain::call::{CallRow, CallState, RecordingStatus};
use domain::objects::CallObjects;
use domain::outcome::EndReason;
use domain::ports::{Bots, Objects, StoreError};
use domain::result::Record;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use crate::result::{custom, read_json, variables, write_json};

/// Bytes of one second of a checkpoint: 8 kHz, two channels, 16 bits.
const BYTES_A_SECOND: u64 = 8000 * 2 * 2;
/// A checkpoint that is missing between two others is this long.
const CHECKPOINT_BYTES: usize = 30 * BYTES_A_SECOND as usize;

/// What it takes to save what is left.
#[derive(Clone, derive_more::Debug)]
#[debug("salvage::Desk")]
pub struct Desk {
    pub objects: Arc<dyn Objects>,
    pub bots: Arc<dyn Bots>,
}

/// What was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salvaged {
    pub recording: RecordingStatus,
    /// Length of the recording saved, milliseconds.
    pub audio_ms: u64,
}

/// What there is to be saved of a call, found and not yet stored.
#[derive(Debug)]
pub struct Leftovers {
    pub found: Salvaged,
    assembled: Option<tempfile::NamedTempFile>,
}

/// Reads what a lost server left; writes nothing.
///
/// # Errors
/// When the bucket does not answer.
pub async fn find(desk: &Desk, row: &CallRow) -> Result<Leftovers, StoreError> {
    let nothing = |recording| Leftovers { found: Salvaged { recording, audio_ms: 0 }, assembled: None };
    if desk.objects.exists(&CallObjects::of(row).recording()).await? {
        return Ok(nothing(stored(row)));
    }
    if let Some(Assembled { file, pcm_bytes }) = assemble(desk, row).await? {
        let audio_ms = pcm_bytes * 1000 / BYTES_A_SECOND;
        let found = Salvaged { recording: RecordingStatus::Partial, audio_ms };
        return Ok(Leftovers { found, assembled: Some(file) });
    }
    let wanted = row.answered_at.is_some() && was_recorded(desk, row).await?;
    Ok(nothing(if wanted { RecordingStatus::Lost } else { RecordingStatus::None }))
}

/// What a recording is that lies where readers look for it: its server's own upload, unless that was lost. Then it is an
/// earlier salvage that was broken off before it could be noted, or what was on the disk of the server's next start.
fn stored(row: &CallRow) -> RecordingStatus {
    let ended_by_itself = row.state == CallState::Ended && row.end_reason != Some(EndReason::ServerLost);
    if ended_by_itself { RecordingStatus::Complete } else { RecordingStatus::Partial }
}

impl Leftovers {
    /// Stores record and recording where readers look for them.
    ///
    /// # Errors
    /// When the bucket does not answer; what was written until then is not referred to by anything.
    pub async fn save(self, desk: &Desk, row: &CallRow) -> Result<Salvaged, StoreError> {
        save_record(desk, row).await?;
        domain::failpoint!("salvage.record");
        if let Some(file) = self.assembled {
            let key = CallObjects::of(row).recording();
            desk.objects.put_file(&key, "audio/wav", file.path()).await?;
            domain::failpoint!("salvage.recording");
        }
        Ok(self.found)
    }
}

/// Assembles recording and record; run twice, it does the same again.
///
/// # Errors
/// When the bucket does not answer; what was written until then is not referred to by anything.
pub async fn salvage(desk: &Desk, row: &CallRow) -> Result<Salvaged, StoreError> {
    find(desk, row).await?.save(desk, row).await
}

async fn save_record(desk: &Desk, row: &CallRow) -> Result<(), StoreError> {
    let objects = CallObjects::of(row);
    if desk.objects.exists(&objects.record()).await? {
        return Ok(());
    }
    let record = match read_json::<Record>(&*desk.objects, &objects.checkpoint_record()).await {
        Ok(Some(record)) => record,
        Ok(None) => record_of_the_start(desk, row).await?,
        Err(StoreError::Corrupt { cause, .. }) => {
            tracing::warn!(call.id = %row.call_id, error = %cause, "the last checkpoint's record is unreadable");
            record_of_the_start(desk, row).await?
        }
        Err(other) => return Err(other),
    };
    write_json(&*desk.objects, &objects.record(), &record).await
}

/// All that is known of a call that never reached a checkpoint: what it began with.
async fn record_of_the_start(desk: &Desk, row: &CallRow) -> Result<Record, StoreError> {
    let variables = readable(variables(&*desk.objects, row).await)?;
    let custom = readable(custom(&*desk.objects, row).await)?;
    Ok(Record::at_start(variables, custom.unwrap_or_default()))
}

/// What can't be read can't be saved, and must not keep the rest from it.
fn readable<T>(read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(StoreError::Corrupt { .. }) => Ok(None),
        other => other,
    }
}

/// A live row says nothing of its recording yet: its bot does.
async fn was_recorded(desk: &Desk, row: &CallRow) -> Result<bool, StoreError> {
    if row.state == CallState::Ended {
        return Ok(row.recording_status != RecordingStatus::None);
    }
    let bot = desk.bots.version(&row.bot_id, row.bot_version).await?;
    Ok(bot.is_none_or(|bot| bot.recording.enabled))
}

struct Assembled {
    file: tempfile::NamedTempFile,
    pcm_bytes: u64,
}

/// Strings the checkpoints together on disk; `None` when there is none. The row may know of fewer than there are:
/// a checkpoint is stored before it is counted.
async fn assemble(desk: &Desk, row: &CallRow) -> Result<Option<Assembled>, StoreError> {
    let objects = CallObjects::of(row);
    let file = tempfile::NamedTempFile::new().map_err(disk)?;
    let mut out = tokio::fs::File::from_std(file.reopen().map_err(disk)?);
    out.write_all(&wav_header(0)).await.map_err(disk)?;
    let mut pcm_bytes: u64 = 0;
    let mut found = false;
    for number in 1.. {
        let part = match desk.objects.get(&objects.checkpoint(number)).await? {
            Some(part) => part,
            None if number < row.checkpoints => Bytes::from_static(&[0; CHECKPOINT_BYTES]),
            None => break,
        };
        found = true;
        out.write_all(&part).await.map_err(disk)?;
        pcm_bytes += part.len() as u64;
    }
    if !found || pcm_bytes == 0 {
        return Ok(None);
    }
    out.rewind().await.map_err(disk)?;
    out.write_all(&wav_header(pcm_bytes)).await.map_err(disk)?;
    out.flush().await.map_err(disk)?;
    Ok(Some(Assembled { file, pcm_bytes }))
}

fn disk(cause: std::io::Error) -> StoreError {
    StoreError::Unavailable { what: "temporary disk", cause: cause.to_string() }
}

/// A canonical 44-byte RIFF header: PCM, stereo, 8 kHz, 16 bits.
fn wav_header(pcm_bytes: u64) -> [u8; 44] {
    let data = u32::try_from(pcm_bytes).unwrap_or(u32::MAX - 36);
    let mut header = [0; 44];
    header[0..4].copy_from_slice(b"RIFF");
    header[4..8].copy_from_slice(&(36 + data).to_le_bytes());
    header[8..16].copy_from_slice(b"WAVEfmt ");
    header[16..20].copy_from_slice(&16_u32.to_le_bytes());
    header[20..22].copy_from_slice(&1_u16.to_le_bytes());
    header[22..24].copy_from_slice(&2_u16.to_le_bytes());
    header[24..28].copy_from_slice(&8000_u32.to_le_bytes());
    header[28..32].copy_from_slice(&(BYTES_A_SECOND as u32).to_le_bytes());
    header[32..34].copy_from_slice(&4_u16.to_le_bytes());
    header[34..36].copy_from_slice(&16_u16.to_le_bytes());
    header[36..40].copy_from_slice(b"data");
    header[40..44].copy_from_slice(&data.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use domain::call::Brought;
    use domain::secret::Personal;
    use domain::variables::Fields;
    use serde_json::value::RawValue;

    use super::*;
    use crate::testing::World;

    #[tokio::test]
    async fn checkpoints_become_a_wav_and_their_record_the_record() {
        let world = World::new();
        let row = world.call(|row| {
            row.answered_at = Some(row.started_at);
            row.recording_status = RecordingStatus::Pending;
            row.checkpoints = 1;
        });
        let objects = CallObjects::of(&row);
        world.object(&objects.checkpoint(1), &[1; 32_000]);
        world.object(&objects.checkpoint(2), &[2; 16_000]);
        world.object(&objects.checkpoint_record(), br#"{"crm":{"name":"Asha"}}"#);
        let saved = salvage(&world.desk(), &row).await.unwrap();
        assert_eq!(saved, Salvaged { recording: RecordingStatus::Partial, audio_ms: 1500 });
        let wav = world.read_object(&objects.recording()).unwrap();
        assert_eq!(wav.len(), 44 + 48_000);
        assert_eq!(&wav[40..44], 48_000_u32.to_le_bytes());
        assert_eq!((wav[44], wav[44 + 47_999]), (1, 2));
        assert!(String::from_utf8(world.read_object(&objects.record()).unwrap()).unwrap().contains("Asha"));
    }

    #[tokio::test]
    async fn what_is_missing_is_named_for_what_it_is() {
        use RecordingStatus as R;
        let check = async |state: CallState, answered: bool, status: R, enabled: bool, finished: bool, expect: R| {
            let world = World::new();
            world.bot("bot", serde_json::json!({"recording": {"enabled": enabled}}));
            let row = world.call(|row| {
                row.state = state;
                row.answered_at = answered.then_some(row.started_at);
                row.recording_status = status;
            });
            if finished {
                world.object(&CallObjects::of(&row).recording(), b"RIFF");
            }
            let saved = salvage(&world.desk(), &row).await.unwrap();
            assert_eq!(saved.recording, expect, "{state:?} {answered} {status:?} {enabled} {finished}");
        };
        use CallState::{Answered, Ended, Ringing};
        check(Answered, true, R::None, true, false, R::Lost).await;
        check(Answered, true, R::None, false, false, R::None).await;
        check(Ringing, false, R::None, true, false, R::None).await;
        check(Ended, true, R::Pending, true, false, R::Lost).await;
        check(Ended, true, R::None, true, false, R::None).await;
        check(Ended, false, R::Pending, true, false, R::None).await;
        check(Ended, true, R::Pending, true, true, R::Complete).await;
    }

    /// Who stored pieces and died before it was noted must not make a whole recording of them.
    #[tokio::test]
    async fn salvaged_once_it_stays_partial() {
        let world = World::new();
        let row = world.call(|row| {
            (row.state, row.end_reason) = (CallState::Ended, Some(EndReason::ServerLost));
            row.answered_at = Some(row.started_at);
            row.recording_status = RecordingStatus::Pending;
        });
        world.object(&CallObjects::of(&row).checkpoint(1), &[1; 32_000]);
        for _ in 0..2 {
            assert_eq!(salvage(&world.desk(), &row).await.unwrap().recording, RecordingStatus::Partial);
        }
    }

    #[tokio::test]
    async fn without_a_checkpoint_the_record_still_has_the_variables() {
        let world = World::new();
        let row = world.call(|_| ());
        world.object(&CallObjects::of(&row).variables(), br#"{"loan":12345678901234567890123}"#);
        salvage(&world.desk(), &row).await.unwrap();
        let record = crate::result::record(&*world.platform().outside.objects, &row).await.unwrap().unwrap();
        assert_eq!(record.crm.stringified()["loan"], "12345678901234567890123");
    }

    /// The bucket took nothing, and the server is gone: a result without its lead could not be told from another's.
    #[tokio::test]
    async fn what_the_bucket_did_not_take_is_in_the_row() {
        let world = World::new();
        let text = |json: &str| Some(Personal(json.to_owned()));
        let check = async |brought: Brought, variables: Option<&str>, crm: &str| {
            let row = world.call(|row| row.brought = Some(brought));
            salvage(&world.desk(), &row).await.unwrap();
            let record = crate::result::record(&*world.platform().outside.objects, &row).await.unwrap().unwrap();
            assert_eq!(record.variables.as_deref().map(RawValue::get), variables);
            assert_eq!(serde_json::to_string(&record.crm).unwrap(), crm);
        };
        let loan = r#"{"loan":12345678901234567890123}"#;
        check(Brought { variables: text(loan), custom: None }, Some(loan), loan).await;
        check(Brought { variables: None, custom: text(r#"{"lead":"7"}"#) }, None, r#"{"lead":"7"}"#).await;
        check(Brought { variables: text("{half"), custom: text("[]") }, None, "{}").await;
    }

    #[tokio::test]
    async fn without_a_checkpoint_the_record_still_has_the_fields_that_the_caller_sent() {
        let world = World::new();
        let check = async |custom: &[u8], expect: &str| {
            let row = world.call(|_| ());
            world.object(&CallObjects::of(&row).custom(), custom);
            salvage(&world.desk(), &row).await.unwrap();
            let record = crate::result::record(&*world.platform().outside.objects, &row).await.unwrap().unwrap();
            let text = |fields: &Fields| serde_json::to_string(fields).unwrap();
            assert_eq!((text(&record.custom), text(&record.crm)), (expect.to_owned(), expect.to_owned()));
        };
        check(br#"{"customer_name":"Asha","loan":1.0}"#, r#"{"customer_name":"Asha","loan":1.0}"#).await;
        check(b"{half", "{}").await;
    }
}
