//! A load with a pace: requests at fixed moments, whether or not the ones before are answered.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};

use crate::ask::{Ask, Came};
use crate::load::Client;
use crate::peers::Setting;

/// How long answers may take to the last.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends so many requests a second, and answers how long after it was due each was answered, in
/// nanoseconds. A request that finds no connection free waits for the next that is.
pub fn run(
    setting: &Setting,
    address: SocketAddr,
    ask: &Ask,
    connections: usize,
    rate: u32,
    requests: u32,
) -> Result<Vec<u64>, String> {
    let epoll = Epoll::new(EpollCreateFlags::empty()).map_err(|error| error.to_string())?;
    let mut origin = setting.origin();
    let mut clients = Vec::with_capacity(connections);
    for number in 0..connections {
        let client = Client::connect(address)?;
        client.watch(&epoll, number)?;
        clients.push(client);
        origin.turn();
    }
    let mut free: VecDeque<usize> = (0..connections).collect();
    let mut due_of = vec![Instant::now(); connections];
    let (mut buffer, mut events) = (vec![0; 16384], vec![EpollEvent::empty(); connections]);
    let begun = Instant::now();
    let (mut sent, mut took) = (0, Vec::new());
    while took.len() < requests as usize {
        while sent < requests
            && let due = begun + Duration::from_secs(1) * sent / rate
            && due <= Instant::now()
            && let Some(number) = free.pop_front()
        {
            due_of[number] = due;
            clients[number].send_anew(ask, &[])?;
            sent += 1;
        }
        let count =
            epoll.wait(&mut events, EpollTimeout::ZERO).map_err(|error| error.to_string())?;
        for event in &events[..count] {
            let number = usize::try_from(event.data()).map_err(|error| error.to_string())?;
            match clients[number].receive(ask, &mut buffer)? {
                Came::Nothing => {}
                Came::End => return Err("the proxy closed a connection".to_owned()),
                Came::Whole => {
                    let elapsed = due_of[number].elapsed().as_nanos();
                    took.push(u64::try_from(elapsed).map_err(|error| error.to_string())?);
                    free.push_back(number);
                }
            }
        }
        origin.turn();
        if begun.elapsed() > Duration::from_secs(1) * requests / rate + PATIENCE {
            return Err("it cannot keep this pace".to_owned());
        }
    }
    Ok(took)
}
