//! `/door`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::limits;
use crate::registry::Registry;
use crate::say::say;

pub(crate) async fn put(State(registry): State<Arc<Registry>>) -> StatusCode {
    if !registry.door.open(limits::CHANGE_SEEN_TIME).await {
        say!("proxyd: a worker has not begun to accept for {:?}", limits::CHANGE_SEEN_TIME);
    }
    StatusCode::NO_CONTENT
}
