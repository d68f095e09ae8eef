//! All apps there is a file of, as they are wanted, and of which of them that has changed.
//!
//! They are shared with whoever plans: a copy costs nothing, and is one only when it is changed.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use crate::name::AppName;
use crate::plan::Wanted;
use crate::touched::Touched;

/// Them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Apps {
    all: Rc<BTreeMap<AppName, Wanted>>,
    touched: Touched,
}

impl Apps {
    pub(crate) fn insert(&mut self, name: AppName, wanted: Wanted) {
        self.touched.add(&name);
        Rc::make_mut(&mut self.all).insert(name, wanted);
    }

    /// Wants these instead. If they are the same, nothing has changed.
    pub(crate) fn replace(&mut self, all: BTreeMap<AppName, Wanted>) {
        if *self.all != all {
            self.all = Rc::new(all);
            self.touched = Touched::All;
        }
    }

    /// Whatever surrounds them has changed.
    pub(crate) fn touch_all(&mut self) {
        self.touched = Touched::All;
    }

    /// What has changed since this was asked last.
    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }
}

impl Deref for Apps {
    type Target = BTreeMap<AppName, Wanted>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl From<BTreeMap<AppName, Wanted>> for Apps {
    fn from(all: BTreeMap<AppName, Wanted>) -> Self {
        Self { all: Rc::new(all), touched: Touched::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sample;
    use crate::order::Order;

    #[test]
    fn z01_the_same_apps_are_no_change() {
        let all = |instances| {
            let of = |name| sample(name, instances);
            let wanted =
                |app: crate::app::App| (app.name.clone(), Wanted::Running(Order::new(app)));
            BTreeMap::from([wanted(of("a")), wanted(of("b"))])
        };
        let mut apps = Apps::from(all(1));
        apps.replace(all(1));
        assert_eq!(apps.take_touched(), Touched::default());
        apps.replace(all(2));
        assert_eq!(apps.take_touched(), Touched::All);
        let shared = apps.clone();
        let (name, wanted) = all(3).pop_first().expect("there is one");
        apps.insert(name.clone(), wanted);
        let touched = apps.take_touched();
        assert!(touched.has(&name) && !touched.is_all());
        assert_ne!(apps.get(&name), shared.get(&name), "a copy stays as it was");
    }
}
