//! The power button of a machine: pressed, it powers the machine off in good order.
//!
//! The kernel shows keys as a stream of `struct input_event`, one file a device.

use std::fs::{self, File};
use std::io::Read;
use std::thread;

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::client::{Init, Then};

const DEVICES: &str = "/dev/input";
/// Two words of time, then type, code and value; as 64-bit kernels have it.
const EVENT: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
const PRESSED: i32 = 1;

/// Waits for the button for as long as bootctl lives. For the first process's child of a machine.
pub(crate) async fn heed(init: Init) {
    match init.is_machine().await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return warn!("the power button is not heeded: {error}"),
    }
    let (pressed, mut news) = mpsc::channel(1);
    for device in devices() {
        let pressed = pressed.clone();
        // A thread that sleeps in the kernel; it ends with bootctl.
        thread::spawn(move || watch(device, &pressed));
    }
    drop(pressed);
    while news.recv().await.is_some() {
        info!("the power button was pressed: powering off");
        match init.end_machine(Then::Poweroff).await {
            // Who presses again is in a hurry, but a second request would kill at once.
            Ok(()) => return,
            Err(error) => warn!("cannot power off: {error}"),
        }
    }
}

fn devices() -> Vec<File> {
    let entries = fs::read_dir(DEVICES).into_iter().flatten().filter_map(Result::ok);
    let events = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("event"));
    events.filter_map(|entry| File::open(entry.path()).ok()).collect()
}

fn watch(mut device: File, pressed: &mpsc::Sender<()>) {
    let mut event = [0; EVENT];
    while device.read_exact(&mut event).is_ok() {
        if is_press(&event) && pressed.blocking_send(()).is_err() {
            return;
        }
    }
}

fn is_press(event: &[u8; EVENT]) -> bool {
    let (_time, rest) = event.split_at(16);
    let wanted =
        [&EV_KEY.to_ne_bytes()[..], &KEY_POWER.to_ne_bytes()[..], &PRESSED.to_ne_bytes()[..]];
    rest == wanted.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i17_only_the_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = [7; EVENT];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20..].copy_from_slice(&value.to_ne_bytes());
            event
        };
        assert!(is_press(&event(EV_KEY, KEY_POWER, PRESSED)));
        assert!(!is_press(&event(EV_KEY, KEY_POWER, 0)));
        assert!(!is_press(&event(EV_KEY, 30, PRESSED)));
        assert!(!is_press(&event(0, KEY_POWER, PRESSED)));
    }
}
