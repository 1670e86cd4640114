//! The description of the routes, made of the table that is served.
use super::{NODE_ROUTES, consistency::Freshness, problem::KINDS, routes::Route};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// Every mutation may refuse like this.
const MUTATIONS: [&str; 5] = ["malformed", "idempotency-mismatch", "no-quorum", "overloaded", "outcome-unknown"];
/// Every read may.
const READS: [&str; 2] = ["malformed", "no-quorum"];

/// An OpenAPI document.
pub(super) fn document(table: &[Route]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in table {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route);
    }
    for (path, summary) in NODE_ROUTES {
        let said = json!({ "200": { "description": "text", "content": { "text/plain": {} } } });
        paths.insert(path.to_owned(), json!({ "get": { "summary": summary, "responses": said } }));
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Corduroy", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": { "Problem": problem_schema() } },
    })
}

fn operation(route: &Route) -> Value {
    let mut responses = Map::new();
    for success in &route.successes {
        let mut response = json!({ "description": success.says });
        if let Some(media) = route.media {
            response["content"] = json!({ media: {} });
        } else if let Ok(example) = serde_json::from_str::<Value>(success.example) {
            response["content"] = json!({ "application/json": { "schema": schema(&example), "example": example } });
        }
        responses.insert(success.status.as_str().to_owned(), response);
    }
    let common: &[&str] = if route.method.is_safe() { &READS } else { &MUTATIONS };
    let mut statuses: Vec<StatusCode> = Vec::new();
    let names: Vec<&str> = common.iter().chain(route.problems).copied().collect();
    statuses.extend(KINDS.iter().filter(|kind| names.contains(&kind.name)).map(|kind| kind.status));
    for status in statuses {
        let of = KINDS.iter().filter(|kind| kind.status == status && names.contains(&kind.name));
        let of = of.map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        let content = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        responses.insert(status.as_str().to_owned(), json!({ "description": of, "content": content }));
    }
    let mut operation = json!({ "summary": route.summary, "parameters": parameters(route), "responses": responses });
    if let Some(example) = route.body.and_then(|body| serde_json::from_str::<Value>(body).ok()) {
        let content = json!({ "application/json": { "schema": schema(&example), "example": example } });
        operation["requestBody"] = json!({ "content": content });
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> =
        names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text })).collect();
    let query = |name: &str, says: &str| json!({ "name": name, "in": "query", "description": says, "schema": text });
    all.extend(route.query.iter().map(|(name, says)| query(name, says)));
    let header = |name: &str, says: &str| json!({ "name": name, "in": "header", "description": says, "schema": text });
    if route.method.is_safe() {
        all.push(query(
            "consistency",
            match route.usual {
                Freshness::Nearby => {
                    "session, linearizable or stale; else what this node has, if Corduroy-Session names no more"
                }
                _ => "session, linearizable or stale",
            },
        ));
    } else {
        all.push(header("Idempotency-Key", "sent again under the same key, a request has one effect"));
    }
    all.extend(route.headers.iter().map(|(name, says)| header(name, says)));
    all.push(header("Corduroy-Session", "the token of an earlier reply: this one sees at least what that said"));
    all
}

/// The schema of what looks like this.
fn schema(example: &Value) -> Value {
    match example {
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "integer", "format": "int64" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(items) => json!({ "type": "array", "items": items.first().map_or(json!({}), schema) }),
        Value::Object(fields) => {
            let properties: Map<_, _> = fields.iter().map(|(name, value)| (name.clone(), schema(value))).collect();
            json!({ "type": "object", "properties": properties })
        }
    }
}

fn problem_schema() -> Value {
    let said = json!({
        "type": "/problems/unknown-order", "title": "There is no such order", "status": 404,
        "detail": "there is no order 17", "instance": "/orders/find/17", "idempotencyKey": "",
    });
    schema(&said)
}
