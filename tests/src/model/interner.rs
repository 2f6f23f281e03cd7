//! Small numbers for large things, so that a state of the model is a few dozen bytes.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Gives equal things the same number and different things different ones.
#[derive(Debug)]
pub(super) struct Interner<T> {
    inner: RwLock<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    ids: HashMap<Arc<T>, u32>,
    things: Vec<Arc<T>>,
}

impl<T: Eq + Hash> Interner<T> {
    pub(super) fn new() -> Self {
        Interner { inner: RwLock::new(Inner { ids: HashMap::new(), things: Vec::new() }) }
    }

    /// The number of a thing.
    pub(super) fn id(&self, thing: T) -> u32 {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = inner.ids.get(&thing) {
            return *id;
        }
        let id = inner.things.len() as u32;
        let thing = Arc::new(thing);
        inner.things.push(Arc::clone(&thing));
        inner.ids.insert(thing, id);
        id
    }

    /// The thing of a number that [`Interner::id`] gave.
    pub(super) fn at(&self, id: u32) -> Arc<T> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&inner.things[id as usize])
    }

    /// All things, each at the place of its number. Nothing is added as long as it is held.
    pub(super) fn all(&self) -> impl Deref<Target = Vec<Arc<T>>> {
        All(self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }
}

struct All<'a, T>(RwLockReadGuard<'a, Inner<T>>);

impl<T> Deref for All<'_, T> {
    type Target = Vec<Arc<T>>;

    fn deref(&self) -> &Vec<Arc<T>> {
        &self.0.things
    }
}
