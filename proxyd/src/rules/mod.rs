//! What a route says beyond where it goes. Most say nothing, and their requests pay for nothing here.
//!
//! ```text
//!   request ─▶ admit: access ─▶ rate limit ─▶ redirect ─▶ password ─▶ the target is asked, or a file is opened
//!                        403          429          3xx         401
//! ```
//!
//! Heads are changed after they have been written, as bytes: what proxyd itself says in them is
//! there then, and can be changed as what others say.

mod access;
mod admit;
mod basic_auth;
mod bucket;
mod edit;
mod page;
mod rate_limit;
mod redirect;
mod rewrite;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use proxyd_wire as wire;
use thiserror::Error;

pub(crate) use admit::{Visitor, admit};
pub(crate) use basic_auth::hash as hash_password;
pub(crate) use page::Page;

use access::{Access, NotANetwork};
use basic_auth::{BasicAuth, NotAnAuth};
use edit::{Edits, NotAnEdit, Side};
use page::{NotAPage, Pages};
use rate_limit::{NotALimit, RateLimit};
use redirect::{NotARedirect, Redirect};
use rewrite::{NotARewrite, Rewrite};

use crate::compression::{NotAType, Types};
use crate::files::{Folder, NotAFolder};
use crate::route::Key;
use crate::tls::{self, NotAnHsts};

/// All that a route says, ready for use.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    access: Option<Access>,
    rate_limit: Option<Arc<RateLimit>>,
    redirect: Option<Redirect>,
    basic_auth: Option<Arc<BasicAuth>>,
    rewrite: Option<Rewrite>,
    request: Option<Edits>,
    response: Option<Edits>,
    /// The field that answers over TLS get instead of the one of all.
    hsts: Option<Edits>,
    pages: Option<Pages>,
    files: Option<Folder>,
    compressed: Option<Types>,
}

/// What of it cannot be as it was put.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotARule {
    #[error("{0}")]
    Redirect(#[from] NotARedirect),
    #[error("{0}")]
    Rewrite(#[from] NotARewrite),
    #[error("request_headers.{0}")]
    Request(NotAnEdit),
    #[error("response_headers.{0}")]
    Response(NotAnEdit),
    #[error("hsts.{0}")]
    Hsts(#[from] NotAnHsts),
    #[error("basic_auth.{0}")]
    BasicAuth(#[from] NotAnAuth),
    #[error("{0}")]
    Access(#[from] NotANetwork),
    #[error("rate_limit.{0}")]
    RateLimit(#[from] NotALimit),
    #[error("error_pages.{0}")]
    Page(#[from] NotAPage),
    #[error("{0}")]
    Files(#[from] NotAFolder),
    #[error("compress_types: {0}")]
    Compressed(#[from] NotAType),
    #[error("compress_types says nothing without compress: add compress = true, or remove it")]
    NotCompressed,
    #[error("{0} says nothing for a redirect, which asks no service: remove it, or `redirect`")]
    BesideRedirect(&'static str),
    #[error("{0} says nothing for files, which no service is asked for: remove it, or `files`")]
    BesideFiles(&'static str),
}

impl NotARule {
    /// Which key of the route is wrong.
    pub(crate) fn key(&self) -> Vec<String> {
        let within = |section: &str, key: Vec<String>| {
            std::iter::once(section.to_owned()).chain(key).collect()
        };
        match self {
            NotARule::Redirect(error) => within("redirect", vec![error.key().to_owned()]),
            NotARule::Rewrite(error) => vec![error.key().to_owned()],
            NotARule::Request(error) => within("request_headers", error.key()),
            NotARule::Response(error) => within("response_headers", error.key()),
            NotARule::Hsts(error) => within("hsts", vec![error.key().to_owned()]),
            NotARule::BasicAuth(error) => within("basic_auth", error.key()),
            NotARule::Access(error) => error.key(),
            NotARule::RateLimit(error) => within("rate_limit", vec![error.key().to_owned()]),
            NotARule::Page(error) => within("error_pages", error.key()),
            NotARule::Files(error) => within("files", vec![error.key().to_owned()]),
            NotARule::Compressed(_) | NotARule::NotCompressed => vec!["compress_types".to_owned()],
            NotARule::BesideRedirect(key) | NotARule::BesideFiles(key) => vec![(*key).to_owned()],
        }
    }
}

impl Rules {
    /// `None`: it says nothing. All that is wrong is told at once.
    pub(crate) fn new(key: &Key, wire: &wire::Route) -> Result<Option<Box<Rules>>, Vec<NotARule>> {
        // Those are not for requests to pay for.
        let (service, limits, owner) =
            (wire.service.clone(), wire.limits.clone(), wire.owner.clone());
        if *wire == (wire::Route { service, limits, owner, ..wire::Route::default() }) {
            return Ok(None);
        }
        let mut wrong = Vec::new();
        let rules = Rules {
            access: kept(Access::new(&wire.allow, &wire.deny), &mut wrong).flatten(),
            rate_limit: wire
                .rate_limit
                .as_ref()
                .and_then(|limit| kept(RateLimit::new(limit.clone()), &mut wrong).map(Arc::new)),
            redirect: wire
                .redirect
                .as_ref()
                .and_then(|redirect| kept(Redirect::new(key, redirect), &mut wrong)),
            basic_auth: wire
                .basic_auth
                .as_ref()
                .and_then(|auth| kept(BasicAuth::new(auth.clone()), &mut wrong).map(Arc::new)),
            rewrite: kept(Rewrite::new(key, wire), &mut wrong).flatten(),
            request: {
                let edits = Edits::new(Side::Request, &wire.request_headers);
                kept(edits.map_err(all(NotARule::Request)), &mut wrong).flatten()
            },
            response: {
                let edits = Edits::new(Side::Response, &wire.response_headers);
                kept(edits.map_err(all(NotARule::Response)), &mut wrong).flatten()
            },
            hsts: wire.hsts.as_ref().and_then(|hsts| {
                let line = tls::hsts(hsts).map_err(|error| vec![error]);
                kept(line, &mut wrong)
                    .map(|line| Edits::instead("Strict-Transport-Security", &line))
            }),
            pages: kept(Pages::new(&wire.error_pages), &mut wrong).flatten(),
            files: wire.files.as_ref().and_then(|files| kept(Folder::new(files), &mut wrong)),
            compressed: {
                let types = Types::new(&wire.compress_types).map_err(|error| vec![error]);
                kept(types, &mut wrong).filter(|_| wire.compress)
            },
        };
        if !wire.compress && !wire.compress_types.is_empty() {
            wrong.push(NotARule::NotCompressed);
        }
        if rules.redirect.as_ref().is_some_and(|redirect| !redirect.unless_https) {
            wrong.extend(of_service(wire, &rules).map(NotARule::BesideRedirect));
        } else if wire.files.is_some() {
            wrong.extend(of_service(wire, &rules).map(NotARule::BesideFiles));
        }
        if wrong.is_empty() { Ok(Some(Box::new(rules))) } else { Err(wrong) }
    }

    /// Reads the pages that are files.
    pub(crate) fn read_pages(&mut self) -> Result<(), Vec<NotARule>> {
        let Some(pages) = &mut self.pages else { return Ok(()) };
        pages.read().map_err(all(NotARule::Page))
    }

    /// Whether a client is let in without a word, and what it is answered is passed on as it comes. Nothing is
    /// counted for it.
    pub(crate) fn lets_through(&self, client: IpAddr, is_secured: bool) -> bool {
        let stays = |redirect: &Redirect| redirect.unless_https && is_secured;
        self.rate_limit.is_none()
            && self.basic_auth.is_none()
            && self.files.is_none()
            && self.compressed.is_none()
            && self.access.as_ref().is_none_or(|access| access.allows(client))
            && self.redirect.as_ref().is_none_or(stays)
    }

    /// Goes on with the counters and the passwords known of an earlier route, where they mean the
    /// same.
    pub(crate) fn succeed(&mut self, old: &Rules) {
        if let (Some(new), Some(old)) = (&mut self.rate_limit, &old.rate_limit)
            && new.is_like(old)
        {
            *new = Arc::clone(old);
        }
        if let (Some(new), Some(old)) = (&mut self.basic_auth, &old.basic_auth)
            && new.is_like(old)
        {
            *new = Arc::clone(old);
        }
    }

    /// Whether they read the same pages.
    pub(crate) fn has_pages_of(&self, other: &Rules) -> bool {
        self.pages == other.pages
    }

    pub(crate) fn rewrites(&self) -> bool {
        self.rewrite.is_some()
    }

    /// Changes the head of a request for `target`, which has been written.
    pub(crate) fn edit_request(&self, target: &[u8], head: &mut Vec<u8>) {
        let hides = self.basic_auth.as_ref().is_some_and(|auth| auth.hides_authorization());
        if self.rewrite.is_none() && self.request.is_none() && !hides {
            return;
        }
        let asked = self.rewrite.as_ref().map_or(Cow::Borrowed(target), |r| r.target(target));
        let told = self.rewrite.as_ref().map_or(b"" as &[u8], Rewrite::told);
        let dropped = |name: &[u8]| hides && name.eq_ignore_ascii_case(b"authorization");
        edit::request(head, &asked, dropped, told, self.request.as_ref());
    }

    /// Changes the head of an answer, which has been written, perhaps with more behind it.
    pub(crate) fn edit_response(&self, is_secured: bool, answer: &mut Vec<u8>) {
        let hsts = self.hsts.as_ref().filter(|_| is_secured);
        for edits in hsts.into_iter().chain(&self.response) {
            edit::response(answer, edits);
        }
    }

    /// Whether an answer of the service is not what the client gets to see.
    pub(crate) fn replaces(&self, status: u16) -> bool {
        status != 401 && self.page(status).is_some_and(|page| page.of_target)
    }

    pub(crate) fn page(&self, status: u16) -> Option<&Page> {
        self.pages.as_ref()?.find(status)
    }

    /// Where a client is sent that asked a host for `target`.
    pub(crate) fn location(&self, host: &[u8], target: &[u8]) -> Vec<u8> {
        let mut place = Vec::new();
        if let Some(redirect) = &self.redirect {
            redirect.write(host, target, &mut place);
        }
        place
    }

    /// What is served instead of asking a service.
    pub(crate) fn files(&self) -> Option<&Folder> {
        self.files.as_ref()
    }

    /// Which types of answers are compressed.
    pub(crate) fn compressed(&self) -> Option<&Types> {
        self.compressed.as_ref()
    }

    /// How the client is asked for a password.
    pub(crate) fn challenge(&self) -> Option<&[u8]> {
        self.basic_auth.as_ref().map(|auth| auth.challenge())
    }
}

/// What is said of what a service is asked.
fn of_service(wire: &wire::Route, rules: &Rules) -> impl Iterator<Item = &'static str> + use<> {
    let said = [
        ("strip_prefix", wire.strip_prefix),
        ("rewrite", wire.rewrite.is_some()),
        ("request_headers", rules.request.is_some()),
    ];
    said.into_iter().filter(|(_, is_said)| *is_said).map(|(key, _)| key)
}

/// What came of it, unless something is wrong with it.
fn kept<T, E: Into<NotARule>>(made: Result<T, Vec<E>>, wrong: &mut Vec<NotARule>) -> Option<T> {
    made.map_err(|errors| wrong.extend(errors.into_iter().map(Into::into))).ok()
}

fn all<E>(wrap: fn(E) -> NotARule) -> impl Fn(Vec<E>) -> Vec<NotARule> {
    move |errors| errors.into_iter().map(wrap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_of_requests_is_no_rule() {
        let key = Key::parse("a.test").unwrap();
        let route = || wire::Route::to("app");
        let owned = wire::Route { owner: Some("bootctl".to_owned()), ..route() };
        for plain in [route(), owned] {
            assert!(matches!(Rules::new(&key, &plain), Ok(None)), "{plain:?}");
        }
        let allowed = wire::Route { allow: vec!["10.0.0.0/8".to_owned()], ..route() };
        assert!(matches!(Rules::new(&key, &allowed), Ok(Some(_))));
    }
}
