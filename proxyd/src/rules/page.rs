//! Pages that are shown instead of proxyd's own sentence.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use proxyd_wire as wire;
use thiserror::Error;

use crate::h1::syntax;
use crate::limits;

/// Which statuses a page is for; a status comes before its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Status(u16),
    /// 4 or 5.
    Class(u16),
}

/// A page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    which: Which,
    /// As it was put: `502`, `5xx`.
    name: String,
    file: Option<String>,
    /// `None`: its file has not been read.
    text: Option<Vec<u8>>,
    pub(crate) content_type: String,
    /// It is for the service's answers, too.
    pub(crate) of_target: bool,
}

/// The pages of a route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pages(Vec<Page>);

/// What is no page.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAPage {
    #[error("`{0}` is no error: write a status from 400 to 599, or 4xx or 5xx")]
    Which(String),
    #[error("{0} needs either `html` or `file`")]
    Source(String),
    #[error("{0}.html is larger than 64 KiB: write a shorter page")]
    Large(String),
    #[error("{0}.content_type is `{1}`: write a type such as text/html; charset=utf-8")]
    Type(String, String),
    #[error("{0}.file is `{1}`: write an absolute path")]
    Path(String, String),
    #[error("{0}.file is `{1}`, which cannot be read: {2}")]
    Unreadable(String, String, Unreadable),
    #[error("there are more than {} pages: write fewer", limits::ERROR_PAGES)]
    Many,
}

/// Why a file is not a page.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum Unreadable {
    #[error("{0}")]
    System(io::ErrorKind),
    #[error("it is not a plain file")]
    Kind,
    #[error("it is larger than 64 KiB")]
    Large,
}

impl NotAPage {
    pub(crate) fn key(&self) -> Vec<String> {
        match self {
            NotAPage::Which(name) | NotAPage::Source(name) => vec![name.clone()],
            NotAPage::Large(name) => vec![name.clone(), "html".into()],
            NotAPage::Type(name, _) => vec![name.clone(), "content_type".into()],
            NotAPage::Path(name, _) | NotAPage::Unreadable(name, ..) => {
                vec![name.clone(), "file".into()]
            }
            NotAPage::Many => Vec::new(),
        }
    }
}

impl Pages {
    /// `None`: there are none. Files are not read yet.
    pub(super) fn new(
        wire: &BTreeMap<String, wire::ErrorPage>,
    ) -> Result<Option<Pages>, Vec<NotAPage>> {
        if wire.len() > limits::ERROR_PAGES {
            return Err(vec![NotAPage::Many]);
        }
        let mut wrong = Vec::new();
        let mut pages = Vec::new();
        for (name, page) in wire {
            match Page::new(name, page) {
                Ok(page) => pages.push(page),
                Err(error) => wrong.push(error),
            }
        }
        pages.sort_by_key(|page| page.which);
        if wrong.is_empty() { Ok((!pages.is_empty()).then_some(Pages(pages))) } else { Err(wrong) }
    }

    /// Reads those that are files. One that cannot be read is as good as none.
    pub(super) fn read(&mut self) -> Result<(), Vec<NotAPage>> {
        let mut wrong = Vec::new();
        for page in &mut self.0 {
            let Some(file) = &page.file else { continue };
            match read(Path::new(file)) {
                Ok(text) => page.text = Some(text),
                Err(why) => {
                    wrong.push(NotAPage::Unreadable(page.name.clone(), file.clone(), why));
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    pub(super) fn find(&self, status: u16) -> Option<&Page> {
        let is_for = |page: &&Page| match page.which {
            Which::Status(only) => only == status,
            Which::Class(class) => class == status / 100,
        };
        self.0.iter().filter(|page| page.text.is_some()).find(is_for)
    }
}

impl Page {
    pub(crate) fn text(&self) -> &[u8] {
        self.text.as_deref().unwrap_or_default()
    }

    fn new(name: &str, wire: &wire::ErrorPage) -> Result<Page, NotAPage> {
        let shown = || name.chars().take(200).collect::<String>();
        let which = match name {
            "4xx" => Which::Class(4),
            "5xx" => Which::Class(5),
            _ => name
                .parse()
                .ok()
                .filter(|status| (400..=599).contains(status) && name.len() == 3)
                .map(Which::Status)
                .ok_or_else(|| NotAPage::Which(shown()))?,
        };
        let text = match (&wire.html, &wire.file) {
            (Some(html), None) if html.len() <= limits::ERROR_PAGE => {
                Some(html.clone().into_bytes())
            }
            (Some(_), None) => return Err(NotAPage::Large(shown())),
            (None, Some(file)) if file.starts_with('/') && !file.contains('\0') => None,
            (None, Some(file)) => {
                return Err(NotAPage::Path(shown(), file.chars().take(200).collect()));
            }
            (Some(_), Some(_)) | (None, None) => return Err(NotAPage::Source(shown())),
        };
        let content_type = wire.content_type.as_deref().unwrap_or("text/html; charset=utf-8");
        let is_value = syntax::is_value(content_type.as_bytes()) && content_type.is_ascii();
        if !is_value || !content_type.contains('/') || content_type.len() > 200 {
            let content_type = content_type.chars().take(200).collect();
            return Err(NotAPage::Type(shown(), content_type));
        }
        Ok(Page {
            which,
            name: name.to_owned(),
            file: wire.file.clone(),
            text,
            content_type: content_type.to_owned(),
            of_target: wire.of_target,
        })
    }
}

/// A pipe or a device would be waited for.
fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let system = |error: io::Error| Unreadable::System(error.kind());
    if !std::fs::metadata(path).map_err(system)?.is_file() {
        return Err(Unreadable::Kind);
    }
    let mut text = Vec::new();
    let most = limits::ERROR_PAGE as u64 + 1;
    File::open(path).map_err(system)?.take(most).read_to_end(&mut text).map_err(system)?;
    if text.len() > limits::ERROR_PAGE { Err(Unreadable::Large) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> wire::ErrorPage {
        wire::ErrorPage { html: Some(text.into()), ..wire::ErrorPage::default() }
    }

    fn pages<const N: usize>(pages: [(&str, wire::ErrorPage); N]) -> Result<Pages, Vec<NotAPage>> {
        let pages = pages.into_iter().map(|(name, page)| (name.to_owned(), page)).collect();
        Pages::new(&pages).map(|pages| pages.unwrap())
    }

    #[test]
    fn a_status_comes_before_its_class() {
        let pages =
            pages([("5xx", html("any")), ("502", html("one")), ("404", html("none"))]).unwrap();
        let find = |status| pages.find(status).map(Page::text);
        assert_eq!(find(502), Some(&b"one"[..]));
        assert_eq!(find(503), Some(&b"any"[..]));
        assert_eq!(find(404), Some(&b"none"[..]));
        assert_eq!((find(403), find(308)), (None, None));
        assert_eq!(Pages::new(&BTreeMap::new()), Ok(None));
    }

    #[test]
    fn odd_pages_are_told() {
        let both = wire::ErrorPage { file: Some("/x".into()), ..html("") };
        let typed = wire::ErrorPage { content_type: Some("a/b\r\nx: y".into()), ..html("") };
        let path = wire::ErrorPage { file: Some("x".into()), ..wire::ErrorPage::default() };
        let wrong = pages([
            ("200", html("")),
            ("+502", html("")),
            ("3xx", html("")),
            ("501", both),
            ("502", typed),
            ("503", path),
            ("504", wire::ErrorPage::default()),
            ("505", html(&"x".repeat(65_537))),
        ]);
        let wrong = wrong.unwrap_err();
        let keys: Vec<String> = wrong.iter().map(|error| error.key().join(".")).collect();
        let expected = "+502 200 3xx 501 502.content_type 503.file 504 505.html";
        assert_eq!(keys.join(" "), expected);
    }

    #[test]
    fn files_are_read_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, size: usize| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            wire::ErrorPage {
                file: Some(path.to_str().unwrap().to_owned()),
                ..wire::ErrorPage::default()
            }
        };
        let mut good = pages([("502", file("good", limits::ERROR_PAGE))]).unwrap();
        good.read().unwrap();
        assert_eq!(good.find(502).unwrap().text().len(), limits::ERROR_PAGE);
        let absent = wire::ErrorPage { file: Some("/nonexistent".into()), ..file("x", 1) };
        let device = wire::ErrorPage { file: Some("/dev/zero".into()), ..file("x", 1) };
        let large = file("large", limits::ERROR_PAGE + 1);
        let mut bad = pages([("401", absent), ("402", device), ("403", large)]).unwrap();
        let wrong = bad.read().unwrap_err();
        let why: Vec<_> = wrong
            .into_iter()
            .map(|error| match error {
                NotAPage::Unreadable(_, _, why) => why,
                error => panic!("{error}"),
            })
            .collect();
        let expected =
            [Unreadable::System(io::ErrorKind::NotFound), Unreadable::Kind, Unreadable::Large];
        assert_eq!(why, expected);
    }
}
