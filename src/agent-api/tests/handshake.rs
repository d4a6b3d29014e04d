//! The control plane reaches an agent over real TLS, and takes no other machine for it.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

use agent_api::{AgentClient, AgentKey, CertificateAuthority, Error, LivenessAnswer, MasterKey, Problem, PutOutcome, tls};
use axum::{Json, Router, http::HeaderMap, http::StatusCode, response::IntoResponse, routing};
use effects::Effects;
use model::{DesiredSet, EnvironmentId, InstanceId, Stamp};
use std::net::{SocketAddr, TcpListener};

fn install_provider() {
    // Another test of this process may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Serves `app` on a free port with a certificate that `authority` issued to the agent of `environment`.
fn serve(authority: &CertificateAuthority, environment: EnvironmentId, app: Router) -> SocketAddr {
    let key = AgentKey::generate().unwrap();
    let certificate = authority.issue_agent(&key.csr_pem().unwrap(), environment, None).unwrap();
    let config = axum_server::tls_rustls::RustlsConfig::from_config(tls::server_config(&certificate, &key.to_pem()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let server = axum_server::from_tcp_rustls(listener, config).unwrap();
    tokio::spawn(server.serve(app.into_make_service()));
    address
}

fn set(environment_id: EnvironmentId) -> DesiredSet {
    DesiredSet {
        environment_id,
        stamp: Stamp { epoch: 1, generation: 1 },
        instances: Vec::new(),
    }
}

#[tokio::test]
async fn an_agent_with_an_issued_certificate_is_reached_and_sees_the_token() {
    install_provider();
    let master = MasterKey::generate().unwrap();
    let authority = master.certificate_authority().unwrap();
    let environment = EnvironmentId::random();
    let token = master.control_token(environment, 1);
    let expected = token.clone();
    let app = Router::new().route(
        "/v1/desired-set",
        routing::put(async move |headers: HeaderMap| {
            let presented = headers.get("authorization").map(axum::http::HeaderValue::as_bytes);
            if expected.verify_header(presented) {
                StatusCode::NO_CONTENT
            } else {
                StatusCode::UNAUTHORIZED
            }
        }),
    );
    let address = serve(&authority, environment, app);

    let client = AgentClient::new(&authority, environment, address, token, Effects::default()).unwrap();
    assert_eq!(client.put_desired_set(&set(environment)).await.unwrap(), PutOutcome::Accepted);
    assert_eq!(
        client.tool_status(InstanceId::random()).await.unwrap(),
        None,
        "404 is an answer"
    );

    let stale = AgentClient::new(
        &authority,
        environment,
        address,
        master.control_token(environment, 2),
        Effects::default(),
    )
    .unwrap();
    let refused = stale.put_desired_set(&set(environment)).await.unwrap_err();
    assert!(refused.is_unauthorized() && !refused.is_retriable(), "{refused:?}");
}

#[tokio::test]
async fn another_environments_certificate_and_another_authoritys_are_refused() {
    install_provider();
    let authority = MasterKey::generate().unwrap().certificate_authority().unwrap();
    let stranger = MasterKey::generate().unwrap();
    let (environment, other) = (EnvironmentId::random(), EnvironmentId::random());
    let app = || Router::new().route("/health", routing::get(async || Json(LivenessAnswer { status: "ok".into() })));
    let token = || stranger.control_token(environment, 1);

    let wrong_name = serve(&authority, other, app());
    let client = AgentClient::new(&authority, environment, wrong_name, token(), Effects::default()).unwrap();
    assert!(matches!(client.tools().await, Err(Error::Unreachable { .. })));

    let wrong_authority = serve(&stranger.certificate_authority().unwrap(), environment, app());
    let client = AgentClient::new(&authority, environment, wrong_authority, token(), Effects::default()).unwrap();
    let refused = client.tools().await.unwrap_err();
    assert!(
        matches!(refused, Error::Unreachable { .. }) && refused.is_retriable(),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_newer_set_at_the_agent_is_an_outcome_and_an_endless_answer_is_cut() {
    install_provider();
    let master = MasterKey::generate().unwrap();
    let authority = master.certificate_authority().unwrap();
    let environment = EnvironmentId::random();
    let held = Stamp { epoch: 2, generation: 7 };
    let app = Router::new()
        .route(
            "/v1/desired-set",
            routing::put(async move || {
                let problem = Problem {
                    title: "Conflict".into(),
                    status: 409,
                    detail: "older".into(),
                    held: Some(held),
                };
                (StatusCode::CONFLICT, Json(problem)).into_response()
            }),
        )
        .route("/tools", routing::get(async || vec![b' '; 5 << 20]));
    let address = serve(&authority, environment, app);
    let client = AgentClient::new(
        &authority,
        environment,
        address,
        master.control_token(environment, 1),
        Effects::default(),
    )
    .unwrap();
    assert_eq!(
        client.put_desired_set(&set(environment)).await.unwrap(),
        PutOutcome::Older { held }
    );
    assert!(matches!(client.tools().await, Err(Error::Answer { .. })));
}

#[tokio::test]
async fn a_server_certificate_covers_its_names() {
    install_provider();
    let authority = MasterKey::generate().unwrap().certificate_authority().unwrap();
    let server = authority
        .issue_server(&["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap();
    tls::server_config(&server.chain_pem, &server.key_pem).unwrap();
    assert_eq!(server.chain_pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(authority.issue_server(&["not a name\u{e9}".to_owned()]).is_err());
}
