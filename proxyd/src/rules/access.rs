//! Who may come, by address. The most particular network decides.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

use crate::limits;
use crate::network::undressed;

/// Which addresses may come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// The most particular first; of equals the one that denies.
    networks: Vec<(IpNet, bool)>,
    otherwise: bool,
}

/// What is no network.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotANetwork {
    #[error(
        "{list}[{at}] is `{text}`: write an address or a network, such as 192.0.2.7, 10.0.0.0/8 or \
         2001:db8::/32"
    )]
    Text { list: &'static str, at: usize, text: String },
    #[error("{list}[{at}] is `{network}`, which has bits behind its length: write {instead}")]
    Bits { list: &'static str, at: usize, network: IpNet, instead: IpNet },
    #[error("{list} has more than {} networks: write fewer, wider ones", limits::NETWORKS)]
    Many { list: &'static str },
}

impl NotANetwork {
    pub(crate) fn key(&self) -> Vec<String> {
        match self {
            NotANetwork::Text { list, at, .. } | NotANetwork::Bits { list, at, .. } => {
                vec![(*list).to_owned(), at.to_string()]
            }
            NotANetwork::Many { list } => vec![(*list).to_owned()],
        }
    }
}

impl Access {
    /// `None`: everybody may come.
    pub(crate) fn new(
        allow: &[String],
        deny: &[String],
    ) -> Result<Option<Access>, Vec<NotANetwork>> {
        let mut wrong = Vec::new();
        let mut networks = Vec::new();
        for (list, texts, allows) in [("allow", allow, true), ("deny", deny, false)] {
            if texts.len() > limits::NETWORKS {
                wrong.push(NotANetwork::Many { list });
                continue;
            }
            for (at, text) in texts.iter().enumerate() {
                match network(list, at, text) {
                    Ok(network) => networks.push((network, allows)),
                    Err(error) => wrong.push(error),
                }
            }
        }
        networks.sort_by_key(|(network, allows)| (u8::MAX - network.prefix_len(), *allows));
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let otherwise = allow.is_empty();
        Ok((!networks.is_empty()).then_some(Access { networks, otherwise }))
    }

    pub(crate) fn allows(&self, client: IpAddr) -> bool {
        let decides = self.networks.iter().find(|(network, _)| network.contains(&client));
        decides.map_or(self.otherwise, |(_, allows)| *allows)
    }
}

fn network(list: &'static str, at: usize, text: &str) -> Result<IpNet, NotANetwork> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network = text.parse().map(undressed).map_err(|_| {
        let text = text.chars().take(200).collect();
        NotANetwork::Text { list, at, text }
    })?;
    match network.trunc() {
        instead if instead == network => Ok(network),
        instead => Err(NotANetwork::Bits { list, at, network, instead }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Result<Option<Access>, Vec<NotANetwork>> {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Access::new(&owned(allow), &owned(deny))
    }

    #[test]
    fn the_most_particular_decides() {
        type List = &'static [&'static str];
        let cases: [(List, List, List, List); 6] = [
            (&[], &["::ffff:10.0.0.0/104"], &["11.0.0.1", "::1"], &["10.1.2.3"]),
            (&["10.0.0.0/8"], &[], &["10.1.2.3"], &["11.0.0.1", "::1"]),
            (&[], &["10.0.0.0/8"], &["11.0.0.1", "::1"], &["10.1.2.3"]),
            (
                &["10.0.0.0/8", "10.1.2.3"],
                &["10.1.0.0/16"],
                &["10.2.0.1", "10.1.2.3"],
                &["10.1.2.4"],
            ),
            (&["0.0.0.0/0"], &["0.0.0.0/0"], &[], &["10.1.2.3"]),
            (
                &["2001:db8::/32"],
                &["2001:db8:1::/48"],
                &["2001:db8::1"],
                &["2001:db8:1::1", "1.2.3.4"],
            ),
        ];
        for (allow, deny, may, may_not) in cases {
            let access = access(allow, deny).unwrap().unwrap();
            for (clients, allowed) in [(may, true), (may_not, false)] {
                for client in clients {
                    assert_eq!(
                        access.allows(client.parse().unwrap()),
                        allowed,
                        "{allow:?} {client}"
                    );
                }
            }
        }
        assert_eq!(access(&[], &[]), Ok(None));
    }

    #[test]
    fn odd_networks_are_told() {
        let wrong =
            access(&["10.0.0.0/8", "10.1.2.3/8"], &["localhost", "10.0.0.0/33"]).unwrap_err();
        let said: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 3);
        assert!(said[0].starts_with("allow[1] is `10.1.2.3/8`") && said[0].ends_with("10.0.0.0/8"));
        assert!(said[1].starts_with("deny[0] is `localhost`"), "{said:?}");
        assert_eq!(wrong[2].key(), ["deny", "1"]);
    }
}
