//! Making a change: at the generation that it was decided by, and answered when every worker acts on
//! it.

use axum::http::{HeaderMap, StatusCode};

use crate::control::failure::Failure;
use crate::limits;
use crate::registry::Registry;
use crate::say::say;
use crate::state::{Put, State};

/// What `If-Match` demands: `None` for no demand.
pub(crate) fn demanded_generation(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get("if-match") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    number.parse().map(Some).map_err(|_| Failure::Precondition(text.chars().take(64).collect()))
}

/// Changes the state, unless it is not at the generation that is demanded. Workers may still be about
/// to see it.
pub(crate) fn begin<R>(
    registry: &Registry,
    demanded: Option<u64>,
    change: impl FnOnce(&mut State) -> Result<R, Failure>,
) -> Result<R, Failure> {
    registry.change(|state| {
        state.expect_generation(demanded)?;
        change(state)
    })
}

/// The same; returns when every worker acts on it.
pub(crate) async fn make<R>(
    registry: &Registry,
    demanded: Option<u64>,
    change: impl FnOnce(&mut State) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let result = begin(registry, demanded, change)?;
    settle(registry).await;
    Ok(result)
}

/// Waits until the change that was just made is what every worker acts on.
pub(crate) async fn settle(registry: &Registry) {
    if !registry.seen_by_all(registry.version(), limits::CHANGE_SEEN_TIME).await {
        say!("proxyd: a worker has not acted on a change for {:?}", limits::CHANGE_SEEN_TIME);
    }
}

pub(crate) fn answer_put(put: Put) -> StatusCode {
    match put {
        Put::Created => StatusCode::CREATED,
        Put::Changed | Put::Unchanged => StatusCode::OK,
    }
}
