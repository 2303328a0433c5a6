//! A web service whose handler does its work under a lock.
//!
//! `cargo run -p redlock-examples --example axum_service`
//!
//! `POST /invoices/{number}/charge` charges an invoice. At most one request at a time charges the same invoice, in all
//! instances of the service:
//!
//! | answer | when |
//! |---|---|
//! | 200 | charged |
//! | 409 | another request is charging this invoice now; `Retry-After` says when to come back |
//! | 503 | too few nodes answer, or the lock was lost; also with `Retry-After` |
//!
//! `GET /health` shows the nodes, and `GET /metrics` the metrics for Prometheus.
//!
//! Without `REDLOCK_NODES` the example starts three local nodes, sends requests as a client, stops two of the nodes,
//! and exits with 0 only if the answers were as above. With `REDLOCK_NODES` set to URLs with commas between them, it
//! serves on port 8080 until Ctrl-C.

#![allow(clippy::wildcard_enum_match_arm, reason = "what else goes wrong is answered alike")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{FencingToken, LockError, Redlock, RunError, SettingsError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Longest wait of a request for the lock. A quick answer is better for clients that retry.
const PATIENCE: Duration = Duration::from_millis(100);
/// `Retry-After` for contention: about the time that a charge takes.
const AFTER_CONTENTION: Duration = Duration::from_secs(1);
/// `Retry-After` for outages: about the time of a node's restart.
const AFTER_OUTAGE: Duration = Duration::from_secs(5);

/// Buckets for histograms of durations, in seconds: from a local round trip to the longest wait.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

struct Service {
    redlock: Redlock,
    metrics: PrometheusHandle,
}

async fn charge(State(service): State<Arc<Service>>, Path(number): Path<u64>) -> Result<String, Refusal> {
    let invoice = service.redlock.mutex(format!("invoice:{number}"))?.max_wait(PATIENCE);
    // The call to the bank is cancelled at its next await if the lock is lost or the client disconnects.
    Ok(invoice.run(async |lease| ask_the_bank(number, lease.fencing_token()).await).await?)
}

/// Stands for work that must not run twice at the same time. The bank should refuse a token that is smaller than one it
/// has seen; the example `fenced_storage` shows how.
async fn ask_the_bank(number: u64, token: FencingToken) -> Result<String, BankError> {
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(format!("charged invoice {number} under token {token}\n"))
}

type BankError = std::convert::Infallible;

/// An answer that is not 200.
struct Refusal {
    status: StatusCode,
    retry_after: Option<Duration>,
    text: String,
}

impl From<RunError<BankError>> for Refusal {
    fn from(error: RunError<BankError>) -> Self {
        let text = error.to_string();
        match error {
            RunError::NotAcquired(error) => Self::from_lock(&error, text),
            // The bank may have been asked, so a retry has to be harmless.
            RunError::Lost(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, AFTER_OUTAGE, text),
            _ => Self { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None, text },
        }
    }
}

impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, retry_after: None, text: error.to_string() }
    }
}

impl Refusal {
    fn from_lock(error: &LockError, text: String) -> Self {
        match error.reason() {
            LockError::Contended { .. } => Self::new(StatusCode::CONFLICT, AFTER_CONTENTION, text),
            LockError::NoQuorum { .. } => {
                // The end of a quarantine is known; the end of other outages is not.
                let after = error.quarantine().unwrap_or(AFTER_OUTAGE);
                Self::new(StatusCode::SERVICE_UNAVAILABLE, after, text)
            }
            LockError::TooLate { .. } | LockError::ShutDown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, AFTER_OUTAGE, text)
            }
            _ => Self { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None, text },
        }
    }

    fn new(status: StatusCode, retry_after: Duration, text: String) -> Self {
        Self { status, retry_after: Some(retry_after), text }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, retry_after, text } = self;
        // Only our log has the details, because clients need not know the names of the nodes.
        println!("service: {} {text}", status.as_u16());
        let reason = status.canonical_reason().unwrap_or_default().to_lowercase();
        match retry_after {
            Some(after) => {
                let seconds = after.as_millis().div_ceil(1000).to_string();
                (status, [(header::RETRY_AFTER, seconds)], reason).into_response()
            }
            None => (status, reason).into_response(),
        }
    }
}

/// Health for a load balancer: an instance that has no quorum can do no work.
async fn health(State(service): State<Arc<Service>>) -> (StatusCode, String) {
    let nodes = service.redlock.nodes();
    let voting = nodes.iter().filter(|node| node.failure().is_none()).count();
    let line = |node: &redlock_quorum::NodeStatus| match node.failure() {
        None => format!("{}: votes\n", node.name()),
        Some(failure) => format!("{}: {failure}\n", node.name()),
    };
    let has_quorum = voting >= service.redlock.quorum();
    let status = if has_quorum { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, nodes.iter().map(line).collect())
}

async fn metrics(State(service): State<Arc<Service>>) -> String {
    service.metrics.run_upkeep();
    service.metrics.render()
}

fn routes(service: Arc<Service>) -> Router {
    Router::new()
        .route("/invoices/{number}/charge", post(charge))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(service)
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    // The recorder has to be installed before the client is made.
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)?
        .install_recorder()?;
    match std::env::var("REDLOCK_NODES") {
        Ok(nodes) => {
            let redlock = Redlock::connect(nodes.split(',')).await?;
            let listener = TcpListener::bind("127.0.0.1:8080").await?;
            println!("http://{}", listener.local_addr()?);
            let app = routes(Arc::new(Service { redlock: redlock.clone(), metrics }));
            let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
            axum::serve(listener, app).with_graceful_shutdown(stop).await?;
            // Releases the locks of requests that were cut off.
            redlock.shutdown().await;
            Ok(ExitCode::SUCCESS)
        }
        Err(_) => tell(metrics).await,
    }
}

/// Runs the service and its clients in one process.
async fn tell(metrics: PrometheusHandle) -> Result<ExitCode, Box<dyn Error>> {
    let cluster = LocalCluster::start(3)?;
    let redlock = Redlock::connect(cluster.urls()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let app = routes(Arc::new(Service { redlock: redlock.clone(), metrics }));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    println!("Three nodes are up, and the service is at http://127.0.0.1:{port}.\n");

    println!("Two requests charge invoice 42 at the same time, and one charges invoice 43.");
    let (first, second, other) = tokio::join!(
        request(port, "POST", "/invoices/42/charge"),
        request(port, "POST", "/invoices/42/charge"),
        request(port, "POST", "/invoices/43/charge"),
    );
    let (first, second, other) = (first?, second?, other?);
    println!("client: invoice 42: {first}\nclient: invoice 42: {second}\nclient: invoice 43: {other}\n");
    let (charged, refused) = if first.status == 200 { (&first, &second) } else { (&second, &first) };
    let mut as_told = charged.status == 200 && refused.is(409) && other.status == 200;

    println!("Two of the three nodes die.");
    cluster.kill(0)?;
    cluster.kill(1)?;
    let outage = request(port, "POST", "/invoices/44/charge").await?;
    println!("client: invoice 44: {outage}");
    let health = request(port, "GET", "/health").await?;
    println!("client: health: {health}\n");
    as_told &= outage.is(503) && health.status == 503;

    let page = request(port, "GET", "/metrics").await?;
    println!("What Prometheus reads, a few lines of it:");
    let shown = |line: &&str| {
        line.starts_with("redlock_attempts_total") || line.starts_with("redlock_node_connected")
    };
    page.body.lines().filter(shown).for_each(|line| println!("  {line}"));
    as_told &= page.body.contains("redlock_attempts_total{outcome=\"won\"} 2");

    redlock.shutdown().await;
    serving.abort();
    if !as_told {
        println!("That is NOT how it should have gone.");
    }
    Ok(if as_told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The answer to a client.
struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: String,
}

impl Answer {
    /// Whether the request was refused with this status and a `Retry-After`.
    fn is(&self, status: u16) -> bool {
        self.status == status && self.retry_after.is_some_and(|seconds| seconds > 0)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.body.trim_end().replace('\n', "; "))?;
        self.retry_after.map_or(Ok(()), |seconds| write!(f, " (Retry-After: {seconds})"))
    }
}

/// A small HTTP client, which saves a dependency.
async fn request(port: u16, method: &str, path: &str) -> Result<Answer, Box<dyn Error>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    let retry_after = head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.parse().ok());
    Ok(Answer { status, retry_after, body: body.to_owned() })
}
