//! Keys and values side by side in two flat buffers.

/// A run of entries of one map. Keys are `key_size` bytes, values `value_size`.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    pub(super) keys: Vec<u8>,
    pub(super) values: Vec<u8>,
    pub(super) key_size: usize,
    pub(super) value_size: usize,
    pub(super) len: usize,
}

impl Entries {
    /// How many entries these are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Key and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let keys = self.keys.chunks_exact(self.key_size.max(1));
        keys.zip(self.values.chunks_exact(self.value_size.max(1))).take(self.len)
    }

    /// The same with lengths known to the compiler; `None` if they are not the map's.
    pub fn iter_as<const K: usize, const V: usize>(
        &self,
    ) -> Option<impl Iterator<Item = (&[u8; K], &[u8; V])>> {
        let fits = K == self.key_size && V == self.value_size;
        fits.then(|| self.keys.as_chunks::<K>().0.iter().zip(self.values.as_chunks::<V>().0).take(self.len))
    }
}
