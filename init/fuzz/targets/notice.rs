//! Any bytes as a message of a job: what is understood is within its bounds.

#![no_main]

use std::time::Duration;

use init::job::Notice;
use init::notice::{Line, read};
use init::spec::is_fd_name;
use init::store::Order;
use libfuzzer_sys::fuzz_target;

const YEAR: Duration = Duration::from_hours(365 * 24);

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Some(Order::Keep(name) | Order::Close(name)) = Order::read(&text) {
        assert!(is_fd_name(&name));
    }
    for line in read(&text) {
        match line {
            Line::Main(pid) => assert!(pid.as_raw() > 1),
            Line::Notice(Notice::Text(text)) => {
                assert!(text.chars().count() <= 256 && !text.chars().any(char::is_control));
            }
            Line::Notice(Notice::Watchdog(time) | Notice::Extend(time)) => assert!(time <= YEAR),
            Line::Notice(
                Notice::Ready
                | Notice::Reloading
                | Notice::Stopping
                | Notice::Main(_)
                | Notice::Alive
                | Notice::Broken,
            ) => {}
        }
    }
});
