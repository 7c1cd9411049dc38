//! The inbound `bench` user, by SIP and by WebSocket: answers, loops a WAV and records both sides, with nothing else on
//! the way.
//! It exists to measure the media threads; it must never be on unless the settings ask for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use call::io::LegEvent;
use media::Clip;
use sip::Event;
use sip::sdp::{self, Codec};

use crate::legs::{Leg, SipLegs};
use crate::recording::{RecordingId, Recordings};
use crate::signalling::{Act, Incoming};

/// Settings of the bench user.
#[derive(Debug, Clone)]
pub struct BenchConfig {
    /// What is played over and over, 8 kHz.
    pub clip: Clip,
    /// Where recordings go.
    pub folder: PathBuf,
}

/// Answers calls to `bench`, and sockets of the bench's path.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    config: BenchConfig,
    legs: SipLegs,
    recordings: Recordings,
    count: Arc<AtomicU64>,
}

impl Bench {
    pub(crate) fn new(config: BenchConfig, legs: &SipLegs, recordings: Recordings) -> Self {
        Self { config, legs: legs.clone(), recordings, count: Arc::default() }
    }

    pub(crate) fn wants(&self, incoming: &Incoming) -> bool {
        incoming.request.to.user().as_deref() == Some("bench")
    }

    pub(crate) fn take(&self, incoming: Incoming) {
        let this = self.clone();
        tokio::spawn(async move { this.hold(incoming).await });
    }

    async fn hold(&self, mut incoming: Incoming) {
        let signalling = self.legs.signalling();
        let refuse = |code| Act::Reject { code, headers: Vec::new() };
        let Some(offer) = incoming.request.sdp.take() else {
            let _ = signalling.act(incoming.call, refuse(488)).await;
            return;
        };
        let Ok((media, audio, local)) = self.legs.rtp().reserve_rtp() else {
            let _ = signalling.act(incoming.call, refuse(503)).await;
            return;
        };
        // Nobody listens to what comes in.
        drop((audio.far, audio.events));
        let n = self.next();
        let address = SocketAddr::new(local.ip(), local.port());
        let (answer, params) = match sdp::answer(address, n, n, &[Codec::Pcmu, Codec::Pcma], &offer) {
            Ok(agreed) => agreed,
            Err(error) => {
                media.close().await;
                let _ = signalling.act(incoming.call, refuse(error.status())).await;
                return;
            }
        };
        let recording = self.record(n).await;
        media.open(crate::legs::sip::negotiated(&params), &[], recording);
        media.background(Some(self.config.clip.clone()));
        if signalling.act(incoming.call, Act::Accept { sdp: answer }).await.is_ok() {
            while let Some(event) = incoming.events.recv().await {
                if let Event::Reinvite { .. } = event {
                    let _ = signalling.act(incoming.call, Act::RejectReinvite { code: 488 }).await;
                } else if event.is_terminal() {
                    break;
                }
            }
        }
        media.close().await;
        if let Some(recording) = recording {
            self.recordings.close(recording).await;
        }
    }

    /// Holds a call by WebSocket, from the answer until its leg is over.
    pub(crate) async fn hold_socket(&self, leg: Leg) {
        let Leg { mut events, commands, audio, .. } = leg;
        let media = audio.media;
        // Nobody listens to what comes in. The leg still tells which marks were played; there are none.
        drop((audio.far, audio.events));
        let mut recording = None;
        while let Some(event) = events.recv().await {
            match event {
                LegEvent::Answered if recording.is_none() => {
                    recording = self.record(self.next()).await;
                    media.open_socket(recording);
                    media.background(Some(self.config.clip.clone()));
                }
                LegEvent::Failed(_) | LegEvent::Ended { .. } => break,
                _ => {}
            }
        }
        drop(commands);
        media.close().await;
        if let Some(recording) = recording {
            self.recordings.close(recording).await;
        }
    }

    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    async fn record(&self, n: u64) -> Option<RecordingId> {
        self.recordings.open(self.config.folder.join(format!("bench-{n:06}.wav"))).await.ok()
    }
}
