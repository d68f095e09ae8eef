//! `api.md` documents exactly the routes that there are.

use std::collections::BTreeSet;

#[test]
fn api_md_documents_every_route() {
    let document = include_str!("../../api.md");
    let headings: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|heading| heading.contains(" /"))
        .map(str::to_owned)
        .collect();
    let routes: BTreeSet<String> =
        init::api::ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(headings, routes);
    for route in init::api::ROUTES {
        let row = format!("| `{} {}` |", route.method, route.path);
        assert!(document.contains(&row), "no row {row} in the table at the top");
    }
}
