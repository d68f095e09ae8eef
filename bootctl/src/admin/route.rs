//! One row of the table that the admin API is: what may be asked, with what, and what is answered.
//!
//! A running bootctl only tells which paths there are. The document that it serves is made from the rows by a test,
//! see [`super::openapi`], so that it can say nothing else.

/// A row.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "a test makes the document of it"))]
pub(crate) struct Route {
    /// Method and path.
    pub(crate) call: &'static str,
    /// What it does, in a sentence.
    pub(crate) does: &'static str,
    /// What may be said behind the `?`.
    pub(crate) query: &'static [Key],
    pub(crate) takes: Takes,
    pub(crate) gives: Gives,
    /// Statuses of refusals that are about this call, beside those that any may have.
    pub(crate) refuses: &'static [u16],
}

/// A key of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) means: &'static str,
    pub(crate) kind: Kind,
}

/// What the value of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number, from the first to the second.
    Number(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    Text,
    /// It has none: that it is there says all.
    Flag,
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Bytes,
    Args,
    Value,
    Adoption,
    Errand,
}

/// The body of an answer that is no refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    Status,
    App,
    Plan,
    Releases,
    Tokens,
    Token,
    /// With 201.
    NewToken,
    Settings,
    Text,
    /// Lines of a command.
    Custom,
    /// As init's own API has it.
    OfInit,
    /// All jobs as init's own API has them, or an object a line.
    Jobs,
    /// What a job or an app has written, as it is or as an object a line.
    Stream,
    /// 204.
    Nothing,
    Document,
}

/// How long an answer may wait; what was asked for goes on after it.
pub(crate) const TIMEOUT: Key = Key {
    name: "timeout_ms",
    means: "how long to wait for the end of it, an hour at most",
    kind: Kind::Number(0, u64::MAX),
};

impl Route {
    /// What only shows.
    pub(crate) const fn look(call: &'static str, does: &'static str, gives: Gives) -> Self {
        Self { call, does, query: &[], takes: Takes::Nothing, gives, refuses: &[] }
    }

    /// A change that is answered when it is done; its steps are told to whoever wants them.
    pub(crate) const fn change(
        call: &'static str,
        does: &'static str,
        gives: Gives,
        refuses: &'static [u16],
    ) -> Self {
        Self { call, does, query: &[TIMEOUT], takes: Takes::Nothing, gives, refuses }
    }

    pub(crate) const fn refusing(self, refuses: &'static [u16]) -> Self {
        Self { refuses, ..self }
    }

    pub(crate) const fn asking(self, query: &'static [Key]) -> Self {
        Self { query, ..self }
    }

    pub(crate) const fn taking(self, takes: Takes) -> Self {
        Self { takes, ..self }
    }
}

/// The rows of these tables as they are told.
pub(crate) fn calls<'a>(tables: impl IntoIterator<Item = &'a [Route]>) -> String {
    let rows = tables.into_iter().flatten().map(|route| route.call);
    rows.collect::<Vec<_>>().join(", ")
}
