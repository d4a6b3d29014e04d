//! `POST /api/v1/agent/enroll`: a new droplet's agent shows the one-time token of its user data and the key that it made, and
//! gets its certificate and its derived tokens.
//!
//! Crash before the key is bound: nothing happened. Crash after it, or a lost answer: the same key is answered again.

use crate::{Backend, Problem, problem::Json};
use agent_api::{EnrolRequest, EnrolResponse, Refusal, enrolment};
use axum::extract::State;
use model::{Event, EventType};
use schema::{Enrolled, EnrolmentRow};

pub(crate) async fn enrol(
    State(backend): State<Backend>,
    Json(request): Json<EnrolRequest>,
) -> Result<axum::Json<EnrolResponse>, Problem> {
    let applicant = enrolment::verify(&request, &backend.master_key).map_err(|error| refusal(&error))?;
    let row = backend.database.intent_for_enrolment(applicant.intent_id).await?;
    let row = row
        .filter(|row| row.environment_id == applicant.environment_id)
        .ok_or_else(|| refusal(&Refusal::Token))?;
    let first = match backend
        .database
        .intent_enrol(applicant.intent_id, &applicant.key_sha256)
        .await?
    {
        Enrolled::First => true,
        Enrolled::Again => false,
        Enrolled::OtherKey => return Err(refuse_other_key(&backend, &row).await?),
        Enrolled::Expired => return Err(Problem::Forbidden(expired(&row))),
    };
    // Tools are called by the droplet's address, so its certificate has to name it, and only DigitalOcean's word for it counts.
    let Some(address) = row.ip_address else {
        let message = "the droplet's address is not recorded yet; try again in a second";
        return Err(Problem::NotYet(message.to_owned()));
    };
    tracing::info!(environment = %row.environment_id, intent = %applicant.intent_id, first, "agent enrolled");
    enrolment::admit(
        &applicant,
        &backend.master_key,
        &backend.authority,
        Some(address),
        row.epoch,
        backend.heartbeat_seconds(),
    )
    .map(axum::Json)
    .map_err(|error| Problem::Internal(Box::new(error)))
}

fn refusal(refusal: &Refusal) -> Problem {
    let message = refusal.to_string();
    match refusal {
        Refusal::SigningRequest(_) | Refusal::KeyKind => Problem::BadRequest(format!("csr_pem: {message}")),
        Refusal::Token => Problem::Forbidden(format!("token: {message}")),
        Refusal::Proof(_) => Problem::Forbidden(format!("proof: {message}")),
    }
}

fn expired(row: &EnrolmentRow) -> String {
    format!("token: its time for a first enrolment ended at {}", row.enrolment_expires_at)
}

/// A second key with a valid token means that somebody read the droplet's user data: an alarm, and no certificate.
async fn refuse_other_key(backend: &Backend, row: &EnrolmentRow) -> Result<Problem, Problem> {
    let event = Event {
        environment_id: Some(row.environment_id),
        instance_id: None,
        kind: EventType::Warning,
        reason: "EnrolmentRefused".to_owned(),
        message: "a second key tried to enrol with this droplet's token; the first keeps its certificate".to_owned(),
        actor: "api".to_owned(),
        cause: "an enrolment with another key".to_owned(),
    };
    backend.database.event_record(&event).await?;
    Ok(Problem::Forbidden(
        "csr_pem: another key has already enrolled with this token".to_owned(),
    ))
}
