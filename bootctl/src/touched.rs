//! Which apps have to be looked at again: those of which something has changed since they were looked at last.
//!
//! Who plans looks at these and at no others, so that what happens to one app costs nothing for the rest. An app that
//! is left out has nothing to be done about: the planner's tests prove that for every history that they generate.

use std::collections::BTreeSet;

use crate::name::AppName;

/// Them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Every app, and what belongs to none.
    All,
    Only(BTreeSet<AppName>),
}

impl Default for Touched {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Touched {
    pub(crate) fn add(&mut self, app: &AppName) {
        match self {
            Self::All => {}
            Self::Only(apps) => {
                if !apps.contains(app) {
                    apps.insert(app.clone());
                }
            }
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (Self::Only(_), Self::All) => *self = Self::All,
            (Self::Only(apps), Self::Only(more)) => apps.extend(more),
        }
    }

    pub(crate) fn is_all(&self) -> bool {
        *self == Self::All
    }

    pub(crate) fn has(&self, app: &AppName) -> bool {
        match self {
            Self::All => true,
            Self::Only(apps) => apps.contains(app),
        }
    }

    /// Those of `all` that are among them; `all` is sorted and can be searched.
    pub(crate) fn among<'a, T>(
        &'a self,
        all: &'a std::collections::BTreeMap<AppName, T>,
    ) -> Box<dyn Iterator<Item = (&'a AppName, &'a T)> + 'a> {
        match self {
            Self::All => Box::new(all.iter()),
            Self::Only(apps) => Box::new(apps.iter().filter_map(|app| all.get_key_value(app))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn all_holds_whatever_is_added() {
        let app = |name: &str| AppName::parse(name).expect("a name");
        let all = BTreeMap::from([(app("a"), 1), (app("b"), 2)]);
        let mut touched = Touched::default();
        assert_eq!(touched.among(&all).count(), 0);
        touched.add(&app("b"));
        touched.add(&app("c"));
        assert_eq!(touched.among(&all).map(|(_, n)| *n).collect::<Vec<_>>(), [2]);
        assert!(touched.has(&app("c")) && !touched.has(&app("a")));
        touched.merge(Touched::All);
        touched.merge(Touched::default());
        touched.add(&app("a"));
        assert!(touched.is_all() && touched.has(&app("z")));
        assert_eq!(touched.among(&all).count(), 2);
    }
}
