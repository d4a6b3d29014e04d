//! The MCP side: the tools `think`, `review` and `forget`, their arguments and answers.
//!
//! Owns the wire names and texts. It must not know what a branch or a revision means (`graph` does) nor how long a session lives
//! (`sessions` does). It promises that every refusal is a tool error that names the argument, so that a model can mend its call.
//!
//! A session is named by an argument, not by the transport: since revision 2026-07-28 the protocol has no sessions of its own, and a
//! chain of thoughts may well outlive a connection.

use crate::{
    graph::{Draft, Graph, Overview, Rejected, Step},
    sessions::Sessions,
};
use rmcp::{
    ServerHandler,
    handler::server::{
        common::{schema_for_empty_input, schema_for_input},
        router::tool::ToolRouter,
        tool::schema_for_output,
    },
    model::{CallToolResult, ContentBlock, Implementation, JsonObject, ServerCapabilities, ServerConfig},
    tool, tool_handler, tool_router,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use uuid::Uuid;

/// Told to every client on connection.
const INSTRUCTIONS: &str = "Think a hard problem through in steps that you can come back to. Call `think` once per step: without \
    session_id it begins a session and answers its id, which the next calls pass on. When a step turns out wrong, pass `revises` with \
    its number; to try something else, pass `branch_from` and a new `branch`. `review` reads a chain back with its revisions in place; \
    do so before concluding. Mark the answer with `conclusion`.";

/// The server that every request is handed to.
#[derive(Debug)]
pub(crate) struct ReasoningServer {
    version: String,
    sessions: Arc<Mutex<Sessions>>,
    tool_router: ToolRouter<Self>,
}

/// Arguments of `think`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ThinkArguments {
    /// The session to go on with, as answered by the call that began it. Leave it out to begin one.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    session_id: Option<Uuid>,
    /// One step of thought.
    thought: String,
    /// The branch to go on with; with `branch_from`, the name of the branch to begin. Default: the branch of the latest thought.
    #[serde(default)]
    branch: Option<String>,
    /// The number of the thought after which a new branch begins.
    #[serde(default)]
    branch_from: Option<u32>,
    /// The number of the thought that this one takes the place of.
    #[serde(default)]
    revises: Option<u32>,
    /// Whether this thought is the answer of its branch.
    #[serde(default)]
    conclusion: bool,
}

/// Answer of `think`.
#[derive(Debug, Serialize, JsonSchema)]
struct ThinkAnswer {
    /// Pass it on to the next calls.
    session_id: String,
    /// The number of this thought in its session, from 1.
    thought_number: u32,
    /// The branch that it is on.
    branch: String,
    /// The number of the original thought whose place it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    revises: Option<u32>,
    /// Every branch of the session.
    branches: Vec<BranchAnswer>,
    /// How many more thoughts the session takes.
    thoughts_left: usize,
}

/// A branch in short.
#[derive(Debug, Serialize, JsonSchema)]
struct BranchAnswer {
    /// Its name.
    name: String,
    /// The number of the thought after which it left another branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u32>,
    /// How many steps its chain reads.
    steps: usize,
    /// Whether its last step is marked as a conclusion.
    concluded: bool,
}

/// Arguments of `review`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReviewArguments {
    /// The session to read back.
    #[schemars(with = "String")]
    session_id: Uuid,
    /// The branch to read. Default: the branch of the latest thought.
    #[serde(default)]
    branch: Option<String>,
}

/// Answer of `review`.
#[derive(Debug, Serialize, JsonSchema)]
struct ReviewAnswer {
    /// The session that was read.
    session_id: String,
    /// The branch that was read.
    branch: String,
    /// Its chain as it reads now.
    steps: Vec<StepAnswer>,
    /// Every branch of the session.
    branches: Vec<BranchAnswer>,
}

/// One step of a chain.
#[derive(Debug, Serialize, JsonSchema)]
struct StepAnswer {
    /// The number of the original thought.
    thought_number: u32,
    /// The numbers of the thoughts that took its place, oldest first; the text is the last one's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revised_by: Vec<u32>,
    /// What it says now.
    thought: String,
    /// Whether it is marked as a conclusion.
    conclusion: bool,
}

/// Arguments of `forget`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ForgetArguments {
    /// The session to drop.
    #[schemars(with = "String")]
    session_id: Uuid,
}

/// Answer of `forget`.
#[derive(Debug, Serialize, JsonSchema)]
struct ForgetAnswer {
    /// Whether there was such a session.
    forgotten: bool,
}

#[tool_router(router = tool_router)]
impl ReasoningServer {
    /// A server that calls itself `version` and keeps its thoughts in `sessions`.
    pub(crate) fn new(version: String, sessions: Arc<Mutex<Sessions>>) -> Self {
        Self {
            version,
            sessions,
            tool_router: Self::tool_router(),
        }
    }

    /// Record one step of thought. Begins a session when `session_id` is left out; can revise an earlier thought or branch off after one.
    #[tool(
        input_schema = input_schema::<ThinkArguments>(),
        output_schema = schema_for_output::<ThinkAnswer>(),
        annotations(title = "Think", read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    fn think(&self, arguments: JsonObject) -> CallToolResult {
        answered(self.record(arguments).and_then(|answer| structured(&answer, None)))
    }

    /// Read a chain of thoughts back, every revision in the place of what it revises, and see which branches there are.
    #[tool(
        input_schema = input_schema::<ReviewArguments>(),
        output_schema = schema_for_output::<ReviewAnswer>(),
        annotations(title = "Review", read_only_hint = true, open_world_hint = false)
    )]
    fn review(&self, arguments: JsonObject) -> CallToolResult {
        let answer = self.read_back(arguments);
        answered(answer.and_then(|answer| structured(&answer, Some(text(&answer)))))
    }

    /// Drop a session and all of its thoughts now, instead of when it expires.
    #[tool(
        input_schema = input_schema::<ForgetArguments>(),
        output_schema = schema_for_output::<ForgetAnswer>(),
        annotations(
            title = "Forget",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn forget(&self, arguments: JsonObject) -> CallToolResult {
        let answer = parse::<ForgetArguments>(arguments).map(|arguments| ForgetAnswer {
            forgotten: self.sessions().forget(arguments.session_id),
        });
        answered(answer.and_then(|answer| structured(&answer, None)))
    }

    fn record(&self, arguments: JsonObject) -> Result<ThinkAnswer, Refusal> {
        let arguments: ThinkArguments = parse(arguments)?;
        let draft = Draft {
            text: arguments.thought,
            branch: arguments.branch,
            branch_from: arguments.branch_from,
            revises: arguments.revises,
            conclusion: arguments.conclusion,
        };
        let mut sessions = self.sessions();
        let (id, taken, graph) = sessions.think(arguments.session_id, draft, Instant::now())?;
        Ok(ThinkAnswer {
            session_id: id.to_string(),
            thought_number: taken.number,
            branch: taken.branch,
            revises: taken.revises,
            branches: branches(graph),
            thoughts_left: graph.room(),
        })
    }

    fn read_back(&self, arguments: JsonObject) -> Result<ReviewAnswer, Refusal> {
        let arguments: ReviewArguments = parse(arguments)?;
        let mut sessions = self.sessions();
        let graph = sessions.read(arguments.session_id, Instant::now())?;
        let (branch, steps) = graph.chain(arguments.branch.as_deref())?;
        Ok(ReviewAnswer {
            session_id: arguments.session_id.to_string(),
            branch: branch.to_owned(),
            steps: steps.into_iter().map(StepAnswer::from).collect(),
            branches: branches(graph),
        })
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // A graph is only changed once nothing can fail any more, so it is whole even when a holder of the lock panicked.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for ReasoningServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("reasoning-mcp-server", &self.version).with_title("Reasoning MCP Server"))
            .with_instructions(INSTRUCTIONS)
    }
}

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// An argument is missing, unknown or of the wrong type.
    #[error("{path}{source}")]
    Arguments { path: String, source: serde_json::Error },
    /// An argument asks for what cannot be.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The answer has no JSON form.
    #[error("the answer could not be written: {0}")]
    Answer(serde_json::Error),
}

fn parse<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => String::new(),
            field => format!("{field}: "),
        };
        Refusal::Arguments {
            path,
            source: error.into_inner(),
        }
    })
}

fn structured(answer: &impl Serialize, text: Option<String>) -> Result<CallToolResult, Refusal> {
    let mut result = CallToolResult::structured(serde_json::to_value(answer).map_err(Refusal::Answer)?);
    if let Some(text) = text {
        result.content = vec![ContentBlock::text(text)];
    }
    Ok(result)
}

/// A refusal is a result of the tool and not an error of the protocol: clients show the one to the model, which can then do better.
fn answered(result: Result<CallToolResult, Refusal>) -> CallToolResult {
    result.unwrap_or_else(|refusal| CallToolResult::error(vec![ContentBlock::text(refusal.to_string())]))
}

fn input_schema<T: JsonSchema + 'static>() -> Arc<JsonObject> {
    // Only a type that is no object has no input schema, and every arguments type here is a struct.
    schema_for_input::<T>().unwrap_or_else(|_| schema_for_empty_input())
}

fn branches(graph: &Graph) -> Vec<BranchAnswer> {
    graph.overview().into_iter().map(BranchAnswer::from).collect()
}

impl From<Overview<'_>> for BranchAnswer {
    fn from(branch: Overview<'_>) -> Self {
        Self {
            name: branch.name.to_owned(),
            from: branch.from,
            steps: branch.steps,
            concluded: branch.concluded,
        }
    }
}

impl From<Step<'_>> for StepAnswer {
    fn from(step: Step<'_>) -> Self {
        Self {
            thought_number: step.number,
            revised_by: step.revisions,
            thought: step.text.to_owned(),
            conclusion: step.conclusion,
        }
    }
}

/// The chain for people and models; clients that only show text miss nothing of it.
fn text(answer: &ReviewAnswer) -> String {
    let mut text = format!("Branch {} of session {}\n", answer.branch, answer.session_id);
    for step in &answer.steps {
        let revised = step
            .revised_by
            .last()
            .map(|by| format!(" (revised by {by})"))
            .unwrap_or_default();
        let conclusion = if step.conclusion { " Conclusion:" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}.{revised}{conclusion} {}", step.thought_number, step.thought);
    }
    for branch in answer.branches.iter().filter(|branch| branch.name != answer.branch) {
        let from = branch.from.map(|from| format!(" after {from}")).unwrap_or_default();
        let concluded = if branch.concluded { ", concluded" } else { "" };
        let _ = writeln!(text, "Other branch: {}{from}, {} steps{concluded}", branch.name, branch.steps);
    }
    text
}
