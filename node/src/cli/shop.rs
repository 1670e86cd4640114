//! What the commands of the shop have in common: they ask the HTTP port of a node, and show what it says.
use super::{
    block_on,
    exit::{self, Failure},
    http::{Ask, Http},
    output::{self, Format, Output},
};
use serde_json::Value;
use std::time::Duration;

/// Where the HTTP ports of the cluster are.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct HttpArgs {
    /// HTTP addresses of nodes; one that answers is enough.
    #[arg(
        long,
        global = true,
        value_name = "ADDR,...",
        value_delimiter = ',',
        env = "CORDUROY_HTTP",
        default_value = "127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003"
    )]
    http: Vec<String>,
    /// The command again under the same key is one command; default: one that nobody else has.
    #[arg(long, global = true, value_name = "KEY", env = "CORDUROY_KEY")]
    key: Option<String>,
    /// How long the answer may take, asking again included.
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "CORDUROY_TIMEOUT",
        default_value = "35s",
        value_parser = humantime::parse_duration
    )]
    timeout: Duration,
}

/// One request.
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// What to do about a refusal of this name.
    pub(super) hint: Option<(&'static str, &'static str)>,
}

impl Request {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Request { method: "GET", path: path.into(), body: None, hint: None }
    }

    /// With what is said, of this.
    pub(super) fn query(mut self, said: &[(&str, Option<String>)]) -> Self {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(said.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
        let query = query.finish();
        if !query.is_empty() {
            self.path = format!("{}?{query}", self.path);
        }
        self
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Request { method: "POST", ..Request::get(path) }
    }
}

/// Asks, until a node gives a final answer, and prints it.
pub(super) fn run(args: &HttpArgs, request: &Request, format: Option<Format>) -> Result<(), Failure> {
    block_on(async move {
        let http = Http::new(args.http.clone());
        let made = uuid::Uuid::now_v7().to_string();
        let key = args.key.as_deref().unwrap_or(&made);
        let ask = Ask {
            method: request.method,
            path: &request.path,
            key: (request.method != "GET").then_some(key),
            body: request.body.as_ref(),
        };
        let (answer, _) = http.insist(0, &ask, args.timeout).await.map_err(|why| match request.method {
            "GET" => Failure::new(exit::UNREACHABLE, why),
            _ => Failure::new(exit::UNKNOWN_OUTCOME, format!("{why}; ask again with --key {key}")),
        })?;
        if answer.status >= 400 {
            return Err(refusal(request, answer.status, &answer.body));
        }
        let mut out = Output::new();
        match format.unwrap_or(Format::Text) {
            Format::Json => out.json(&answer.body)?,
            // What is done without a word.
            Format::Text if answer.body.is_null() => out.line("done")?,
            Format::Text => out.line(&text(&answer.body))?,
        }
        out.flush()
    })
}

fn refusal(request: &Request, status: u16, problem: &Value) -> Failure {
    let name = problem["type"].as_str().and_then(|kind| kind.rsplit('/').next()).unwrap_or_default();
    let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("refused");
    let hint = request.hint.filter(|(of, _)| *of == name).map_or(String::new(), |(_, hint)| format!(". {hint}"));
    let code = if matches!(status, 400 | 422) { exit::USAGE } else { exit::FAILED };
    Failure::new(code, format!("{detail} ({name}){hint}"))
}

/// Names and values, one in a line. Lists of things with names are tables; other lists have one element in a line.
fn text(answer: &Value) -> String {
    match answer {
        Value::Object(fields) => {
            let (lists, plain): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, value)| is_table(value));
            let lines = plain.iter().map(|(name, value)| format!("{name}  {}", cell(value)));
            let tables = lists.iter().map(|(name, value)| format!("\n{name}\n{}", text(value)));
            lines.chain(tables).collect::<Vec<_>>().join("\n")
        }
        Value::Array(rows) if is_table(answer) => {
            let headings: Vec<&str> =
                rows.iter().take(1).filter_map(Value::as_object).flatten().map(|(name, _)| name.as_str()).collect();
            let row = |row: &Value| headings.iter().map(|name| cell(&row[name])).collect();
            output::table(&headings, rows.iter().map(row))
        }
        Value::Array(elements) => elements.iter().map(cell).collect::<Vec<_>>().join("\n"),
        other => cell(other),
    }
}

fn is_table(value: &Value) -> bool {
    value.as_array().is_some_and(|rows| !rows.is_empty() && rows.iter().all(Value::is_object))
}

/// What is nothing is a dash.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
