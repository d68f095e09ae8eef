//! `/state`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use proxyd_wire as wire;

use crate::registry::Registry;

pub(crate) async fn get(
    State(registry): State<Arc<Registry>>,
) -> ([(HeaderName, String); 1], Json<wire::State>) {
    let mut state = registry.look(crate::state::State::view);
    state.serving = registry.door.is_open();
    let tag = format!("\"{}\"", state.generation);
    ([(axum::http::header::ETAG, tag)], Json(state))
}
