//! Whether a request may go to the service of its route, and if not, why.

use std::net::IpAddr;

use tokio::time::Instant;

use super::Rules;
use super::basic_auth::{BasicAuth, Closed};
use super::rate_limit::{By, Counted, RateLimit};
use crate::h1::request::RequestHead;
use crate::h1::syntax;
use crate::refusal::Refusal;

/// A request, as far as rules look at it.
#[derive(Clone, Copy)]
pub(crate) struct Visitor<'a> {
    /// The address of the client.
    pub(crate) client: IpAddr,
    /// Who has sent it is believed where it came from.
    pub(crate) trusted: bool,
    /// Its connection is TLS.
    pub(crate) secured: bool,
    pub(crate) head: &'a [u8],
    pub(crate) request: &'a RequestHead,
    pub(crate) now: Instant,
}

impl<'a> Visitor<'a> {
    /// The value of a field that there is exactly once.
    fn field(&self, name: &str) -> Option<&'a [u8]> {
        let is = |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
        let mut fields = self.request.fields.iter().filter(|field| is(field.name.of(self.head)));
        let field = fields.next()?;
        fields.next().is_none().then(|| field.value.of(self.head))
    }

    /// Whether the client spoke https to the first of the proxies in front, or to us.
    fn came_by_https(&self) -> bool {
        let is_told = |name: &[u8]| self.trusted && name.eq_ignore_ascii_case(b"x-forwarded-proto");
        let mut told = self.request.fields.iter().filter(|field| is_told(field.name.of(self.head)));
        // One that adds a line to another's means the same as one that adds to that line.
        let first = told.next().and_then(|field| syntax::list(field.value.of(self.head)).next());
        first.map_or(self.secured, |scheme| scheme.eq_ignore_ascii_case(b"https"))
    }
}

/// Lets a request in, or says what it is answered. The user that it is from, empty if nobody was asked.
pub(crate) async fn admit(rules: &Rules, visitor: Visitor<'_>) -> Result<String, Refusal> {
    if let Some(access) = &rules.access
        && !access.allows(visitor.client)
    {
        return Err(Refusal::Forbidden);
    }
    if let Some(limit) = &rules.rate_limit {
        count(limit, visitor)?;
    }
    if let Some(redirect) = &rules.redirect
        && !(redirect.unless_https && visitor.came_by_https())
    {
        return Err(Refusal::Moved(redirect.status));
    }
    match &rules.basic_auth {
        Some(auth) => ask(auth, visitor).await,
        None => Ok(String::new()),
    }
}

fn count(limit: &RateLimit, visitor: Visitor<'_>) -> Result<(), Refusal> {
    let value = match &limit.by {
        By::Client => None,
        By::Header(name) => visitor.field(name),
    };
    let counted = value.map_or(Counted::Address(visitor.client), Counted::Value);
    limit.count(&counted, visitor.now).map_err(|wait| {
        let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Refusal::TooOften(u32::try_from(whole).unwrap_or(u32::MAX))
    })
}

async fn ask(auth: &BasicAuth, visitor: Visitor<'_>) -> Result<String, Refusal> {
    let Some(value) = visitor.field("authorization") else { return Err(Refusal::Unauthorized) };
    auth.check(value).await.map_err(|closed| match closed {
        Closed::Wrong => Refusal::Unauthorized,
        Closed::Busy => Refusal::Checking,
    })
}
