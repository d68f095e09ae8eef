//! A service as the data path sees it: the targets that may be claimed now.

use std::sync::Arc;

use crate::name::Name;
use crate::target::Target;

/// A service of one generation.
#[derive(Debug)]
pub(crate) struct Service {
    #[expect(dead_code, reason = "its settings and its log lines will need it")]
    pub(crate) name: Name,
    /// In the order of their names.
    pub(crate) targets: Vec<Arc<Target>>,
}

impl Service {
    /// The less busy of two targets picked by `random`, other than the one to avoid if there is
    /// any other. It is claimed for the caller. `None`: all are retired, or there are none.
    pub(crate) fn claim(&self, random: u64, avoid: Option<u64>) -> Option<Arc<Target>> {
        let count = self.targets.len() as u64;
        let at = |at: u64| usize::try_from(at).ok().and_then(|at| self.targets.get(at));
        let first = at(random.checked_rem(count)?)?;
        // The second is one of the others, each as likely.
        let others = count - 1;
        let second = (random >> 32)
            .checked_rem(others)
            .and_then(|step| at((random % count + 1 + step) % count))
            .unwrap_or(first);
        let busy = |target: &Target| (avoid == Some(target.number), target.in_flight());
        let (better, worse) =
            if busy(second) < busy(first) { (second, first) } else { (first, second) };
        // Retired since this picture was taken: whoever is left.
        [better, worse].into_iter().chain(&self.targets).find(|target| target.claim()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Address;

    fn service(count: u64) -> Service {
        let target = |number| {
            let address = Address::parse("tcp:127.0.0.1:1").unwrap();
            Arc::new(Target::new(number, String::new(), address))
        };
        Service { name: Name::parse("s").unwrap(), targets: (0..count).map(target).collect() }
    }

    #[test]
    fn nobody_to_claim() {
        assert!(service(0).claim(7, None).is_none());
        let retired = service(2);
        retired.targets.iter().for_each(|target| target.retire());
        assert!(retired.claim(7, None).is_none());
    }

    #[test]
    fn the_less_busy_of_two() {
        let service = service(2);
        for random in 0..100_u64 {
            service.claim(random.wrapping_mul(0x9e37_79b9_7f4a_7c15), None).unwrap();
        }
        assert_eq!(service.targets[0].in_flight(), 50);
    }

    #[test]
    fn avoids_while_there_is_another() {
        let one = service(1);
        assert_eq!(one.claim(3, Some(0)).unwrap().number, 0);
        let two = service(2);
        for random in 0..100_u64 {
            assert_eq!(two.claim(random << 31 | random, Some(0)).unwrap().number, 1);
        }
    }
}
