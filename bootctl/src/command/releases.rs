//! `bootctl releases APP`

use std::fmt::Write;

use clap::Args;

use crate::admin::client::{Client, ClientError};
use crate::admin::releases::{ReleaseView, ReleasesView};
use crate::cli::At;
use crate::http::segment;
use crate::table::{columns, size};

/// Show the releases of an app
#[derive(Debug, Args)]
pub(crate) struct Releases {
    /// The app's name
    pub(crate) app: String,

    /// For programs
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) at: At,
}

const HEAD: [&str; 5] = ["RELEASE", "STATE", "MADE", "SIZE", "INSTANCES"];

pub(super) async fn run(releases: &Releases) -> Result<String, ClientError> {
    let client = Client::at(&releases.at.socket());
    let path = format!("/apps/{}/releases", segment(&releases.app));
    let view: ReleasesView = client.get(&path).await?;
    if releases.json {
        return Ok(serde_json::to_string_pretty(&view).unwrap_or_default());
    }
    Ok(table(&view))
}

fn table(view: &ReleasesView) -> String {
    let app = &view.app;
    let mut text = view.working.as_ref().map(|what| format!("{what}\n\n")).unwrap_or_default();
    if view.releases.is_empty() {
        return text
            + &format!("{app} has no releases: `bootctl deploy {app} --from DIR` makes one");
    }
    let head = HEAD.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head).chain(view.releases.iter().map(row)).collect();
    text += &columns(&rows);
    for release in &view.releases {
        if let Some(why) = &release.why {
            let _ = write!(text, "\n\n{why}");
        }
    }
    text + &format!("\n\nin {}", view.folder)
}

fn row(release: &ReleaseView) -> Vec<String> {
    let dash = || "-".to_owned();
    let instances = release.instances.join(" ");
    vec![
        release.release.to_string(),
        release.state.word().to_owned(),
        release.at.as_deref().map_or_else(dash, |at| at.replace('T', " ").replace('Z', "")),
        release.bytes.map_or_else(dash, size),
        if instances.is_empty() { dash() } else { instances },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::releases::ReleaseState;

    #[test]
    fn d08_releases_are_shown_as_a_table() {
        let release = |release, state, why: Option<&str>| ReleaseView {
            release,
            at: Some("2026-11-22T01:02:03Z".into()),
            bytes: Some(1536),
            files: Some(2),
            state,
            why: why.map(str::to_owned),
            instances: Vec::new(),
        };
        let current = ReleaseView {
            instances: vec!["a.1".into(), "a.2".into()],
            at: None,
            ..release(9, ReleaseState::Current, None)
        };
        let releases = vec![release(10, ReleaseState::Failed, Some("it dies")), current];
        let (app, folder) = ("a".into(), "/r/a".into());
        let view = ReleasesView { app, folder, working: None, releases };
        assert_eq!(
            table(&view),
            "RELEASE  STATE    MADE                 SIZE     INSTANCES\n\
             10       failed   2026-11-22 01:02:03  1.5 KiB  -\n\
             9        current  -                    1.5 KiB  a.1 a.2\n\n\
             it dies\n\n\
             in /r/a"
        );
    }
}
