//! baresip as the callee or the caller: a real telephone program that plays a WAV.
//! It must never use a sound card.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use tokio::process::Command;

use crate::api::DIALLED;
use crate::audio::Speech;
use crate::ports;
use crate::process::Process;

const MODULES: &str = "/usr/lib/baresip/modules";
const MEDIA_PORTS: u16 = 20;
const READY: Duration = Duration::from_secs(90);

/// A running baresip.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
    _folder: TempDir,
    pub port: u16,
}

impl Baresip {
    /// Starts one that answers every call, says `speech` from the answer on, and hears nothing.
    ///
    /// # Errors
    /// It can't be started.
    pub async fn start(speech: &Speech) -> Result<Self> {
        Self::launch(speech, None).await
    }

    /// Starts one that calls `target`, a SIP URI, and says `speech` from the answer on.
    ///
    /// # Errors
    /// It can't be started.
    pub async fn call(speech: &Speech, target: &str) -> Result<Self> {
        Self::launch(speech, Some(target)).await
    }

    async fn launch(speech: &Speech, target: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let wav = speech.write_wav(&folder.path().join("speech.wav"))?;
        let port = ports::one()?;
        let media = ports::block(MEDIA_PORTS)?;
        let config = config(port, media, &wav.display().to_string());
        fs::write(folder.path().join("config"), config)?;
        // It takes calls for its own user only: that is the number which the tests dial.
        let account = format!("<sip:{DIALLED}@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs=pcmu\n");
        fs::write(folder.path().join("accounts"), account)?;
        fs::write(folder.path().join("contacts"), "")?;
        let mut command = Command::new("baresip");
        command.arg("-f").arg(folder.path()).args(["-n", "127.0.0.1", "-v"]);
        if let Some(target) = target {
            command.args(["-e", &format!("/dial {target}")]);
        }
        let mut process = Process::start("baresip", command)?;
        process.line(READY, |line| line.contains("baresip is ready").then_some(())).await?;
        Ok(Self { process, _folder: folder, port })
    }

    /// Ends it.
    ///
    /// # Errors
    /// It survives.
    pub async fn stop(mut self) -> Result<()> {
        self.process.kill().await
    }
}

fn config(port: u16, media: u16, wav: &str) -> String {
    let last = media + MEDIA_PORTS - 1;
    let sounds = PathBuf::from("/usr/share/baresip").display().to_string();
    format!(
        "sip_listen 127.0.0.1:{port}\n\
         call_max_calls 2\n\
         call_local_timeout 120\n\
         audio_path {sounds}\n\
         audio_source aufile,{wav}\n\
         audio_player aufile,/dev/null\n\
         audio_alert aufile,/dev/null\n\
         audio_level no\n\
         ausrc_srate 8000\n\
         auplay_srate 8000\n\
         audio_buffer 20-160\n\
         audio_telev_pt 101\n\
         rtp_ports {media}-{last}\n\
         rtp_stats no\n\
         module_path {MODULES}\n\
         module aufile.so\n\
         module g711.so\n\
         module_tmp uuid.so\n\
         module_tmp account.so\n\
         module_app menu.so\n"
    )
}
