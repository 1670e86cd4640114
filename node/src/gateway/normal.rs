//! Paths as the routes have them: the first segment without case, and no slash at the end.
use axum::{
    extract::Request,
    http::{Uri, uri::PathAndQuery},
};

/// Before a request is routed.
pub(super) async fn normalise(mut request: Request) -> Request {
    if let Some(uri) = normal(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// `None`: it is as it should be.
fn normal(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let trimmed = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path);
    let first = trimmed.get(1..)?.split('/').next()?;
    if trimmed.len() == path.len() && !first.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let rest = trimmed.get(1 + first.len()..)?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let text = format!("/{}{rest}{query}", first.to_ascii_lowercase());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segment_has_no_case_and_the_end_no_slash() {
        for (given, expected) in [
            ("/Orders", Some("/orders")),
            ("/ORDERS/OS000001-ORD/", Some("/orders/OS000001-ORD")),
            ("/orders/?limit=3", Some("/orders?limit=3")),
            ("/Stock/find/A?consistency=stale", Some("/stock/find/A?consistency=stale")),
            ("/orders/addItem/a/B", None),
            ("/", None),
            ("//", Some("/")),
            ("/%C3%84/", Some("/%c3%84")),
        ] {
            let uri = given.parse().expect("a URI");
            assert_eq!(normal(&uri).map(|uri| uri.to_string()).as_deref(), expected, "{given}");
        }
    }
}
