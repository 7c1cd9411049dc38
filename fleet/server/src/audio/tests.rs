//! Calls on a real media thread: what a leg gets and gives, recorded and told.

use std::time::Duration;

use media::Clip;
use media::wav::Wav;
use tokio::time::timeout;

use super::*;
use crate::recording::Recordings;

/// Nothing takes longer; a wait that does is a failure.
const LIMIT: Duration = Duration::from_secs(60);

fn engine(recordings: &Recordings) -> AudioEngine {
    AudioEngine::start("127.0.0.1".parse().unwrap(), &(39_500..=39_519), 1, recordings).unwrap()
}

async fn next(said: &mut mpsc::Receiver<Said>) -> Said {
    timeout(LIMIT, said.recv()).await.expect("something is said").expect("the engine lives")
}

/// The next thing that is no frame, and how many frames sounded before it.
async fn after_frames(said: &mut mpsc::Receiver<Said>) -> (usize, Said) {
    let mut frames = 0;
    loop {
        match next(said).await {
            Said::Frame(_) => frames += 1,
            other => return (frames, other),
        }
    }
}

#[tokio::test]
async fn a_leg_gets_what_sounds_its_marks_and_the_end_of_the_spurt() {
    let (media, _audio, mut line) = engine(&Recordings::start().unwrap()).reserve_socket();
    media.open_socket(None);
    media.play(Clip::new(vec![100; 800]));
    media.mark(1);
    media.play(Clip::new(vec![200; 100]));
    media.mark(2);
    assert_eq!(after_frames(&mut line.said).await, (5, Said::Mark { id: 1, at_sample: 800 }));
    assert_eq!(after_frames(&mut line.said).await, (1, Said::Mark { id: 2, at_sample: 900 }));
    assert_eq!(after_frames(&mut line.said).await, (0, Said::SpurtEnd));
    let stats = timeout(LIMIT, media.close()).await.unwrap().unwrap();
    assert_eq!(stats.sent, 6);
    assert_eq!(line.said.recv().await, None, "the line ends with the call");
}

#[tokio::test]
async fn barge_in_cuts_and_clears_in_that_order() {
    let (media, _audio, mut line) = engine(&Recordings::start().unwrap()).reserve_socket();
    media.open_socket(None);
    media.play(Clip::new(vec![100; 80_000]));
    media.mark(1);
    media.mark(2);
    assert!(matches!(next(&mut line.said).await, Said::Frame(_)));
    media.clear();
    let (more, cut) = after_frames(&mut line.said).await;
    let Said::Cut { at_sample } = cut else { panic!("{cut:?}") };
    // All that sounded came before it, but for what a test that stood still let fall from the queue.
    let came = (more as u64 + 1) * 160;
    assert!(at_sample % 160 == 0 && (came..80_000).contains(&at_sample), "{at_sample} {came}");
    assert_eq!(next(&mut line.said).await, Said::Cleared { id: 1, at_sample });
    assert_eq!(next(&mut line.said).await, Said::Cleared { id: 2, at_sample });
    // A spurt that was cut has ended; the next one begins.
    media.play(Clip::new(vec![7; 160]));
    assert_eq!(next(&mut line.said).await, Said::Frame([7; FRAME_SAMPLES]));
    assert_eq!(next(&mut line.said).await, Said::SpurtEnd);
    let stats = timeout(LIMIT, media.close()).await.unwrap().unwrap();
    assert_eq!(stats.sent * 160, at_sample + 160, "it was cut at the frame that sounded last");
}

#[tokio::test]
async fn a_stuck_leg_loses_frames_and_no_mark() {
    let (media, mut audio, mut line) = engine(&Recordings::start().unwrap()).reserve_socket();
    media.open_socket(None);
    // Two seconds, twice what the queue holds, and nobody takes them: the stream's own count says when they are over.
    media.play(Clip::new(vec![1; 16_000]));
    media.mark(1);
    let over = async {
        let mut frames = 0;
        while frames < 110 {
            frames += usize::from(audio.far.recv().await.is_some());
        }
    };
    timeout(LIMIT, over).await.unwrap();
    let (frames, mark) = after_frames(&mut line.said).await;
    assert!(frames < 100, "{frames}");
    assert_eq!(mark, Said::Mark { id: 1, at_sample: 16_000 });
    assert_eq!(after_frames(&mut line.said).await, (0, Said::SpurtEnd));
}

#[tokio::test]
async fn what_the_dialler_sends_is_heard_and_both_sides_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.wav");
    let recordings = Recordings::start().unwrap();
    let (media, mut audio, line) = engine(&recordings).reserve_socket();
    line.heard.send(Heard { samples: vec![9999; 160] }).await.unwrap();
    // Heard, then the answer: what was said before it is not the call.
    media.open_socket(None);
    let recording = recordings.open(path.clone()).await.unwrap();
    media.open_socket(Some(recording));
    media.background(Some(Clip::new(vec![-500; 1000])));
    for _ in 0..25 {
        line.heard.send(Heard { samples: vec![4000; 320] }).await.unwrap();
    }
    let mut heard = 0;
    let mut last = 0;
    while heard < 20 {
        let far = timeout(LIMIT, audio.far.recv()).await.unwrap().unwrap();
        // The answer starts the count; a machine that stood still jumps over frames.
        assert!(far.position % 160 == 0 && (far.position > last || far.position == 0), "{last} {}", far.position);
        last = far.position;
        heard += usize::from(far.samples == [4000; 160] && far.near == [-500; 160]);
        // A machine that stood still has lost some of it: the dialler goes on speaking.
        let _ = line.heard.try_send(Heard { samples: vec![4000; 160] });
    }
    assert_eq!(timeout(LIMIT, audio.events.recv()).await.unwrap(), Some(StreamEvent::FirstPacket));
    media.close().await.unwrap();
    recordings.close(recording).await.unwrap();
    let wav = Wav::read(&std::fs::read(path).unwrap()).unwrap();
    let frames: Vec<(i16, i16)> = wav.samples.chunks_exact(2).map(|f| (f[0], f[1])).collect();
    assert!(frames.iter().filter(|f| **f == (4000, -500)).count() >= 20 * 160);
    assert!(frames.iter().all(|(customer, _)| *customer != 9999));
}

#[tokio::test]
async fn a_paused_leg_is_sent_nothing_and_loses_nothing() {
    let (media, mut audio, mut line) = engine(&Recordings::start().unwrap()).reserve_socket();
    media.open_socket(None);
    media.pause(true);
    media.play(Clip::new(vec![5; 160]));
    for _ in 0..5 {
        assert_eq!(timeout(LIMIT, audio.far.recv()).await.unwrap().unwrap().near, [0; 160]);
    }
    assert!(line.said.try_recv().is_err());
    media.pause(false);
    assert_eq!(next(&mut line.said).await, Said::Frame([5; FRAME_SAMPLES]));
}

#[tokio::test]
async fn both_kinds_share_a_thread() {
    let engine = engine(&Recordings::start().unwrap());
    let (rtp, mut rtp_audio, local) = engine.reserve_rtp().unwrap();
    let (socket, mut socket_audio, _line) = engine.reserve_socket();
    rtp.open(media::Remote::new(local, media::Codec::Pcmu), &[], None);
    socket.open_socket(None);
    for _ in 0..3 {
        assert!(timeout(LIMIT, rtp_audio.far.recv()).await.unwrap().is_some());
        assert!(timeout(LIMIT, socket_audio.far.recv()).await.unwrap().is_some());
    }
    // An opening of the other kind opens nothing.
    let (wrong, _audio, _line) = engine.reserve_socket();
    wrong.open(media::Remote::new(local, media::Codec::Pcmu), &[], None);
    assert!(wrong.close().await.is_none());
    assert!(rtp.close().await.is_some() && socket.close().await.is_some());
}
