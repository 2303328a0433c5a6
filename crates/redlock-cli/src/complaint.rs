//! What a child process says on stderr.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much of it is kept: enough for a panic's message.
const KEPT: u64 = 16 * 1024;

/// Reads to the end, and answers the beginning.
pub(crate) async fn read<R: AsyncRead + Unpin>(stderr: Option<R>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let mut kept = Vec::new();
    // What could be read is what there is; the rest is drained, so that the process does not wait for us.
    let _ = (&mut stderr).take(KEPT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}
