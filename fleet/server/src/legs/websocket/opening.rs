//! From the upgrade to the dialler's introduction. Nothing of it is written down, so that whoever connects and says
//! nothing costs a slot for a few seconds and no more.

use dialect::{Event, Opening};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::line::Line;

/// Waits until the dialler has said who calls; the session itself gives up after 10 s.
pub(super) async fn wait<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Line<S>,
    going: &CancellationToken,
) -> Result<Box<Opening>, End> {
    loop {
        // Before its introduction a dialler does nothing.
        while let Some(event) = line.next_event() {
            if let Event::Opened(opening) = event {
                return Ok(opening);
            }
        }
        tokio::select! {
            turn = line.turn(None) => turn.map_err(End::of)?,
            () = going.cancelled() => return Err(End::going_away()),
        }
    }
}
