//! The difference between what the proxy knows of TLS and what it is to know.
//!
//! What is not known is left as it is: the certificate of an app whose file is broken, and all of it while nobody knows
//! who vouches for clients, because a proxy that was told less would let in more.

use proxyd_wire as wire;

use super::proxy::tables;
use super::{Desired, Observed, Push, Table};
use crate::tls::Tls;
use crate::touched::Touched;

/// Only of interest when all was touched: it belongs to no app.
pub(super) fn pushes(
    desired: &Desired,
    observed: &Observed,
    table: &Table,
    touched: &Touched,
    puts: &mut Vec<Push>,
    removals: &mut Vec<Push>,
) {
    let Some(tls) = desired.tls.as_ref().filter(|_| touched.is_all()) else { return };
    if *table.tls != tls.settings {
        puts.push(Push::Tls(Box::new(tls.settings.clone())));
    }
    for (name, pair) in &tls.certificates {
        if table.certificates.get(name) != Some(&pair.fingerprint) {
            puts.push(Push::Certificate { name: name.clone(), pair: pair.clone() });
        }
    }
    if let Some(tickets) = &tls.tickets
        && table.tickets != tickets.name
    {
        puts.push(Push::Tickets(tickets.clone()));
    }
    let acme = acme(tls, observed);
    if *table.acme != acme {
        puts.push(Push::Acme(Box::new(acme)));
    }
    let stays = |name: &String| tls.certificates.contains_key(name) || tls.kept.contains(name);
    let gone = table.certificates.keys().filter(|name| !stays(name));
    removals.extend(gone.map(|name| Push::NoCertificate { name: name.clone() }));
}

/// Those that are to be obtained: with those of apps whose file is broken, as any generation has them.
fn acme(tls: &Tls, observed: &Observed) -> wire::Acme {
    let mut acme = tls.acme.clone();
    for (name, certificate) in tables(observed).flat_map(|table| &table.acme.certificates) {
        if tls.kept.contains(name) && !acme.authorities.is_empty() {
            let certificates = &mut acme.certificates;
            certificates.entry(name.clone()).or_insert_with(|| certificate.clone());
        }
    }
    acme
}

/// A pair in the proxy's words.
pub(crate) fn certificate(pair: &crate::tls::Pair) -> wire::Certificate {
    let (chain, key) = (Some(pair.chain.clone()), Some(pair.key.clone()));
    wire::Certificate { chain, key, ..wire::Certificate::default() }
}
