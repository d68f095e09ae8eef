//! Files that a route serves by itself.

use serde::{Deserialize, Serialize};

/// Files of a folder, got by the path below the route's prefix. What is beside the folder, what begins with a dot
/// (but for `/.well-known`), and what is no plain file is not there; no folder is listed.
///
/// Where `NAME.zst`, `NAME.br` or `NAME.gz` is not older than `NAME`, it is what a client gets that takes it so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Its absolute path. It is opened for each request: a link in its place may lead elsewhere from then on.
    pub folder: String,
    /// What is shown of a folder.
    #[serde(default = "index", skip_serializing_if = "is_index")]
    pub index: String,
    /// A path below the folder that is shown in place of what is not there, with 200: the one page of an app that
    /// makes all others in the browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// The same with 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_found: Option<String>,
}

impl Files {
    /// All of a folder, and nothing more.
    pub fn of(folder: impl Into<String>) -> Files {
        Files { folder: folder.into(), index: index(), fallback: None, not_found: None }
    }
}

fn index() -> String {
    "index.html".to_owned()
}

fn is_index(name: &str) -> bool {
    name == index()
}
