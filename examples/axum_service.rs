//! An HTTP handler behind a lock: 409 while somebody else has it, 503 while no quorum answers, both with Retry-After.
//!
//! `cargo run --example axum_service --features testing`
//!
//! Serves the masters in REDLOCK_NODES until Ctrl-C, where that is set:
//! `curl -X POST http://127.0.0.1:8080/invoices/42/charge`. Otherwise it starts some of its own, and asks itself.

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{LockError, Redlock, RunError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long a request waits for another one of the same invoice, before its client is asked to come back.
const PATIENCE: Duration = Duration::from_millis(300);

async fn charge(State(redlock): State<Redlock>, Path(invoice): Path<u64>) -> Result<String, Refused> {
    // Numbers make a name that is always allowed; of a text, `mutex` may say that it is not.
    let lock = redlock.mutex(format!("invoice:{invoice}")).map_err(LockError::from)?.max_wait(PATIENCE);
    let charged = lock.run(async |lease| {
        // What takes long. The storage behind it checks the token, as `fenced_storage` shows.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, std::convert::Infallible>(format!("charged under token {}\n", lease.fencing_token()))
    });
    charged.await.map_err(|error| match error {
        RunError::NotAcquired(error) => Refused::from(error),
        // It may have been charged: only who reads the storage knows.
        lost @ (RunError::Lost(_) | RunError::Body { .. } | _) => {
            Refused { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: "", text: lost.to_string() }
        }
    })
}

/// What a client is told, and what it can do.
struct Refused {
    status: StatusCode,
    /// Seconds; empty where trying again is not the answer.
    retry_after: &'static str,
    text: String,
}

impl From<LockError> for Refused {
    fn from(error: LockError) -> Self {
        let (status, retry_after) = match error.reason() {
            LockError::Contended { .. } => (StatusCode::CONFLICT, "1"),
            LockError::NoQuorum { .. } | LockError::TooLate { .. } => (StatusCode::SERVICE_UNAVAILABLE, "5"),
            // The clock is off, or a setting cannot be used: waiting does not help.
            LockError::ClockSkew { .. }
            | LockError::FenceTooHigh { .. }
            | LockError::Timeout { .. }
            | LockError::Invalid(_)
            | LockError::ShutDown
            | _ => (StatusCode::INTERNAL_SERVER_ERROR, ""),
        };
        Self { status, retry_after, text: error.to_string() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self { status, retry_after, text } = self;
        // What the nodes said is for the log, not for clients.
        eprintln!("{status}: {text}");
        if retry_after.is_empty() {
            status.into_response()
        } else {
            (status, [(header::RETRY_AFTER, retry_after)]).into_response()
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    if let Ok(nodes) = std::env::var("REDLOCK_NODES") {
        let redlock = Redlock::connect(nodes.split(',')).await?;
        let listener = TcpListener::bind("127.0.0.1:8080").await?;
        let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
        axum::serve(listener, service(redlock.clone())).with_graceful_shutdown(ctrl_c).await?;
        redlock.shutdown().await;
        return Ok(());
    }
    let cluster = LocalCluster::start(3)?;
    let redlock = Redlock::connect(cluster.urls()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, service(redlock)).await });

    println!("Two requests for one invoice, and one for another:");
    let requests = [42, 42, 43].map(|invoice| tokio::spawn(ask(address, invoice)));
    for request in requests {
        println!("  {}", request.await??);
    }
    println!("Two of three nodes are killed:");
    (0..2).try_for_each(|node| cluster.kill(node))?;
    println!("  {}", ask(address, 42).await?);
    Ok(())
}

fn service(redlock: Redlock) -> Router {
    Router::new().route("/invoices/{invoice}/charge", post(charge)).with_state(redlock)
}

/// One request; answers the status line, and when to come back.
async fn ask(address: std::net::SocketAddr, invoice: u64) -> Result<String, Error> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("POST /invoices/{invoice}/charge HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let told = |line: &&str| {
        line.starts_with("HTTP/") || line.starts_with("retry-after") || line.starts_with("charged")
    };
    Ok(format!("invoice {invoice}: {}", response.lines().filter(told).collect::<Vec<_>>().join("; ")))
}
