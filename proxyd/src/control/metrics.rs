//! The metrics, in the Prometheus text format 0.0.4.

use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use proxyd_wire as wire;

use crate::meter::{BOUNDS, Counts};
use crate::registry::Registry;

/// All of them, as of now.
pub(crate) fn text(registry: &Registry) -> String {
    let mut out = String::new();
    let mut routes = registry.look(|state| {
        let counts = state.meters().map(|(key, meter)| (key.to_string(), meter.counts()));
        counts.collect::<Vec<_>>()
    });
    routes.push((String::new(), registry.unrouted.counts()));
    // Who was never asked has nothing to tell.
    routes.retain(|(_, counts)| *counts != Counts::default());
    of_routes(&routes, &mut out);
    let state = registry.look(crate::state::State::view);
    of_services(&state, &mut out);
    of_tls(registry, &mut out);
    of_process(registry, state.generation, &mut out);
    out
}

fn of_tls(registry: &Registry, out: &mut String) {
    let ends = registry.look(|state| {
        let keyring = state.keyring();
        let given = keyring.certificates().iter().map(|(name, c)| (name, "given", c.not_after));
        let obtained = keyring.obtained().iter();
        let obtained = obtained.map(|(name, o)| (name, "acme", o.certificate.not_after));
        let ends = given.chain(obtained);
        ends.map(|(name, source, end)| (name.as_str().to_owned(), source, end)).collect::<Vec<_>>()
    });
    let name = "proxyd_certificate_expiry_timestamp_seconds";
    head(name, "gauge", "When a certificate ends, in seconds since 1970.", out);
    for (certificate, source, end) in ends {
        line(name, &[("certificate", &certificate), ("source", source)], end, out);
    }
    let name = "proxyd_acme_orders_total";
    head(name, "counter", "Orders of certificates that have ended.", out);
    for (result, count) in [("issued", &registry.acme.issued), ("failed", &registry.acme.failed)] {
        line(name, &[("result", result)], count.load(Ordering::Relaxed), out);
    }
    let handshakes = &registry.gauges.handshakes;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (full, resumed) = (count(&handshakes.full), count(&handshakes.resumed));
    let name = "proxyd_tls_handshakes_total";
    head(name, "counter", "Handshakes of TLS that have ended.", out);
    let failed = count(&handshakes.failed);
    for (result, count) in [("full", full), ("resumed", resumed), ("failed", failed)] {
        line(name, &[("result", result)], count, out);
    }
    let name = "proxyd_tls_handshake_seconds";
    head(name, "summary", "From a connection's first byte to the end of its handshake.", out);
    line(&format!("{name}_sum"), &[], seconds(count(&handshakes.micros)), out);
    line(&format!("{name}_count"), &[], full + resumed, out);
}

fn of_routes(routes: &[(String, Counts)], out: &mut String) {
    head("proxyd_requests_total", "counter", "Requests by route and class of status.", out);
    for (route, counts) in routes {
        for (class, count) in (1..).zip(counts.classes).filter(|(_, count)| *count > 0) {
            let labels = [("route", route.as_str()), ("class", &format!("{class}xx"))];
            line("proxyd_requests_total", &labels, count, out);
        }
    }
    let name = "proxyd_request_duration_seconds";
    head(name, "histogram", "From a request's first byte to its answer's last.", out);
    for (route, counts) in routes {
        let bounds = BOUNDS.map(seconds);
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        for (bound, count) in bounds.zip(counts.times) {
            line(&format!("{name}_bucket"), &[("route", route), ("le", bound)], count, out);
        }
        line(&format!("{name}_sum"), &[("route", route)], seconds(counts.micros), out);
        let all = counts.times.last().copied().unwrap_or(0);
        line(&format!("{name}_count"), &[("route", route)], all, out);
    }
    let name = "proxyd_response_body_bytes_total";
    head(name, "counter", "Bytes of bodies sent to clients.", out);
    for (route, counts) in routes {
        line(name, &[("route", route)], counts.bytes, out);
    }
}

fn of_services(state: &wire::State, out: &mut String) {
    let name = "proxyd_service_waiting";
    head(name, "gauge", "Requests that wait for a target.", out);
    for (service, view) in &state.services {
        line(name, &[("service", service)], view.waiting, out);
    }
    let targets = || {
        let all = state.services.iter();
        all.flat_map(|(service, view)| view.targets.iter().map(move |(n, t)| (service, n, t)))
    };
    let name = "proxyd_target_in_flight";
    head(name, "gauge", "Requests that a target has not answered yet.", out);
    for (service, target, view) in targets() {
        line(name, &[("service", service), ("target", target)], view.in_flight, out);
    }
    let name = "proxyd_target_up";
    head(name, "gauge", "1 while a target is asked, 0 while it is ejected or retired.", out);
    for (service, target, view) in targets() {
        let up = !view.retired && view.state != wire::Health::Ejected;
        line(name, &[("service", service), ("target", target)], u8::from(up), out);
    }
}

fn of_process(registry: &Registry, generation: u64, out: &mut String) {
    let gauges = &registry.gauges;
    let clients = gauges.clients() as u64;
    let lost = gauges.lines_lost.load(Ordering::Relaxed);
    let draining = u64::from(gauges.draining.load(Ordering::Relaxed));
    let unsaved = u64::from(gauges.snapshot_failing.load(Ordering::Relaxed));
    for (name, kind, help, value) in [
        ("proxyd_connections", "gauge", "Clients' connections.", clients),
        (
            "proxyd_access_log_lost_lines_total",
            "counter",
            "Lines that the access log could not take.",
            lost,
        ),
        ("proxyd_generation", "gauge", "The generation of what is wanted.", generation),
        ("proxyd_serving", "gauge", "1 while clients are let in.", registry.door.is_open().into()),
        ("proxyd_draining", "gauge", "1 once it was told to stop.", draining),
        ("proxyd_snapshot_failing", "gauge", "1 while --state cannot be written.", unsaved),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", resident()),
        ("process_open_fds", "gauge", "Open descriptors.", descriptors()),
    ] {
        head(name, kind, help, out);
        line(name, &[], value, out);
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = kilobytes.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

fn descriptors() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn head(name: &str, kind: &str, help: &str, out: &mut String) {
    // Writing to a string does not fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display, out: &mut String) {
    out.push_str(name);
    for (at, (label, text)) in labels.iter().enumerate() {
        // Names, hosts and prefixes hold neither line ends nor anything else to escape but these.
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(out, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
    }
    let end = if labels.is_empty() { "" } else { "}" };
    let _ = writeln!(out, "{end} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_seconds() {
        for (micros, text) in [(0, "0"), (500, "0.0005"), (2_500_000, "2.5"), (60_000_000, "60")] {
            assert_eq!(seconds(micros), text);
        }
    }

    #[test]
    fn labels_hold_anything() {
        let mut out = String::new();
        line("a", &[("b", r#"x"\y"#), ("c", "")], 1, &mut out);
        line("d", &[], 2, &mut out);
        assert_eq!(out, "a{b=\"x\\\"\\\\y\",c=\"\"} 1\nd 2\n");
    }
}
