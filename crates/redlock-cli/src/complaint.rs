//! The stderr of a child process.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much of a child's stderr is kept: enough for a panic's message.
const KEPT: u64 = 16 * 1024;

/// Reads to the end, and returns the beginning.
pub(crate) async fn read<R: AsyncRead + Unpin>(stderr: Option<R>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let mut kept = Vec::new();
    // A read error keeps what was read before it. The rest is drained, because a full pipe would block the child.
    let _ = (&mut stderr).take(KEPT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}
