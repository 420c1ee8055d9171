//! A borrowed map and what can be done with many of its entries at once.
#![expect(
    unsafe_code,
    reason = "the buffers' lengths are checked here, against the kernel's description of the map"
)]

use std::{fs, io, os::fd::BorrowedFd};

use super::{
    Entries,
    sys::{self, Command},
};
use crate::{NetError, Result};

/// What the kernel says a map is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// `BPF_MAP_TYPE_…`
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value as read and written from here: for per-CPU maps, all CPUs' values, each padded to 8.
    pub value_size: usize,
    /// How many entries it holds at most.
    pub max_entries: u32,
}

/// A map that entries are moved in and out of in batches.
#[derive(Debug)]
pub struct BatchMap<'fd> {
    fd: BorrowedFd<'fd>,
    shape: Shape,
}

/// `BPF_MAP_TYPE_` PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, PERCPU_CGROUP_STORAGE.
const PER_CPU: [u32; 4] = [5, 6, 10, 21];
/// `BPF_MAP_TYPE_` HASH, LRU_HASH and their per-CPU forms, whose cursor is a bucket number.
const HASHES: [u32; 4] = [1, 5, 9, 10];

impl<'fd> BatchMap<'fd> {
    /// Asks the kernel what kind of map this is.
    ///
    /// # Errors
    /// [`NetError::BpfMap`], also when the descriptor is no map.
    pub fn new(fd: BorrowedFd<'fd>) -> Result<Self> {
        let failed =
            |source| NetError::BpfMap { doing: "reading the description", map: format!("{fd:?}"), source };
        let info = sys::info(fd).map_err(failed)?;
        // The description of a program or a link fits the same structure: only maps say so in /proc.
        let fdinfo =
            fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)));
        if !fdinfo.map_err(failed)?.contains("map_type:") {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a map")));
        }
        let value_size = if PER_CPU.contains(&info.kind) {
            (info.value_size as usize).next_multiple_of(8) * possible_cpus().map_err(failed)?
        } else {
            info.value_size as usize
        };
        let name = info.name.split(|b| *b == 0).next().unwrap_or_default();
        let shape = Shape {
            name: String::from_utf8_lossy(name).into_owned(),
            kind: info.kind,
            key_size: info.key_size as usize,
            value_size,
            max_entries: info.max_entries,
        };
        Ok(Self { fd, shape })
    }

    /// What the kernel says it is.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Reads one value; `None` if the key is not there.
    ///
    /// # Errors
    /// [`NetError::BpfSize`], [`NetError::BpfMap`].
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.element(Command::Lookup, "looking a key up", key)
    }

    /// Reads one value and removes it in the same step; `None` if the key is not there. Hashes only.
    ///
    /// # Errors
    /// [`NetError::BpfSize`], [`NetError::BpfMap`].
    pub fn take(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.element(Command::LookupAndDelete, "taking a key out", key)
    }

    /// Walks all entries, up to `chunk` at a time. Entries that come or go meanwhile may be missed or seen, once.
    pub fn walk(&self, chunk: u32) -> Walk<'_, 'fd> {
        Walk::new(self, Command::LookupBatch, chunk)
    }

    /// Walks all entries and removes them as it goes. Hashes only.
    pub fn drain(&self, chunk: u32) -> Walk<'_, 'fd> {
        Walk::new(self, Command::LookupAndDeleteBatch, chunk)
    }

    /// Writes entries, each in place of what its key had; returns how many, which is all of them.
    ///
    /// # Errors
    /// [`NetError::BpfSize`]; [`NetError::BpfMap`], after which an unknown part of them is written.
    pub fn update<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, entries: &[(K, V)]) -> Result<usize> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            self.check("a key", key.as_ref(), self.shape.key_size)?;
            self.check("a value", value.as_ref(), self.shape.value_size)?;
            keys.extend_from_slice(key.as_ref());
            values.extend_from_slice(value.as_ref());
        }
        if entries.is_empty() {
            return Ok(0);
        }
        let count = self.count(entries.len())?;
        // SAFETY: both buffers were just filled with `count` elements of the map's own sizes.
        let (_, result) = unsafe {
            let (keys, values) = (keys.as_mut_ptr(), values.as_mut_ptr());
            sys::batch(Command::UpdateBatch, self.fd, None, None, keys, values, count, 0)
        };
        result.map_err(|source| self.failed("writing a batch", source))?;
        Ok(entries.len())
    }

    /// Removes keys; those that are not there are fine. Returns how many were.
    ///
    /// # Errors
    /// [`NetError::BpfSize`], [`NetError::BpfMap`].
    pub fn delete<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<usize> {
        let mut bytes = Vec::with_capacity(keys.len() * self.shape.key_size);
        for key in keys {
            self.check("a key", key.as_ref(), self.shape.key_size)?;
            bytes.extend_from_slice(key.as_ref());
        }
        let (mut at, mut removed) = (0, 0);
        while at < keys.len() {
            let count = self.count(keys.len() - at)?;
            let rest = &mut bytes[at * self.shape.key_size..];
            // SAFETY: `rest` holds `count` keys of the map's size; there are no values in this command.
            let (handled, result) = unsafe {
                let keys = rest.as_mut_ptr();
                sys::batch(Command::DeleteBatch, self.fd, None, None, keys, std::ptr::null_mut(), count, 0)
            };
            removed += handled as usize;
            at += handled as usize;
            match result {
                Ok(()) => break,
                // The kernel stops at a key that is not there: step over it.
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => at += 1,
                Err(source) => return Err(self.failed("removing a batch", source)),
            }
        }
        Ok(removed)
    }

    fn element(&self, command: Command, doing: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check("a key", key, self.shape.key_size)?;
        let mut value = vec![0; self.shape.value_size];
        // SAFETY: the key was checked and the value made from the kernel's own description of this map.
        match unsafe { sys::element(command, self.fd, key, &mut value) } {
            Ok(()) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(self.failed(doing, source)),
        }
    }

    fn check(&self, what: &'static str, bytes: &[u8], want: usize) -> Result<()> {
        if bytes.len() == want {
            return Ok(());
        }
        Err(NetError::BpfSize { map: self.shape.name.clone(), what, got: bytes.len(), want })
    }

    fn count(&self, entries: usize) -> Result<u32> {
        u32::try_from(entries)
            .map_err(|_| self.failed("counting a batch", io::Error::from_raw_os_error(libc::E2BIG)))
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> NetError {
        NetError::BpfMap { doing, map: self.shape.name.clone(), source }
    }
}

/// A walk over a map, a chunk at a time. Not an iterator, because chunks lend from one reused buffer.
#[derive(Debug)]
pub struct Walk<'m, 'fd> {
    map: &'m BatchMap<'fd>,
    command: Command,
    chunk: u32,
    cursor: Option<Vec<u8>>,
    done: bool,
    entries: Entries,
}

impl<'m, 'fd> Walk<'m, 'fd> {
    fn new(map: &'m BatchMap<'fd>, command: Command, chunk: u32) -> Self {
        let Shape { key_size, value_size, .. } = map.shape;
        let entries = Entries { key_size, value_size, ..Entries::default() };
        Self { map, command, chunk: chunk.max(1), cursor: None, done: false, entries }
    }

    /// The next entries, never empty; `None` at the end.
    ///
    /// A hash bucket is read whole or not at all, so where one holds more than a chunk the chunk grows.
    ///
    /// # Errors
    /// [`NetError::BpfMap`].
    pub fn next_chunk(&mut self) -> Result<Option<&Entries>> {
        while !self.done {
            match self.step() {
                Ok(0) => {}
                Ok(_) => return Ok(Some(&self.entries)),
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => self.grow()?,
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(source) => return Err(self.map.failed("reading a batch", source)),
            }
        }
        Ok(None)
    }

    /// Every remaining entry through a function.
    ///
    /// # Errors
    /// [`NetError::BpfMap`].
    pub fn for_each(mut self, mut f: impl FnMut(&[u8], &[u8])) -> Result<()> {
        while let Some(entries) = self.next_chunk()? {
            entries.iter().for_each(|(key, value)| f(key, value));
        }
        Ok(())
    }

    fn step(&mut self) -> io::Result<usize> {
        let shape = &self.map.shape;
        self.entries.len = 0;
        self.entries.keys.resize(self.chunk as usize * shape.key_size, 0);
        self.entries.values.resize(self.chunk as usize * shape.value_size, 0);
        let mut next = vec![0; shape.key_size.max(4)];
        // SAFETY: the buffers were just sized for `chunk` elements of the map's own sizes, the cursors for its cursor.
        let (count, result) = unsafe {
            let (keys, values) = (self.entries.keys.as_mut_ptr(), self.entries.values.as_mut_ptr());
            let (cursor, next) = (self.cursor.as_deref(), Some(next.as_mut_slice()));
            sys::batch(self.command, self.map.fd, cursor, next, keys, values, self.chunk, 0)
        };
        match result {
            Ok(()) => {}
            // The end; the last entries came with it.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => self.done = true,
            Err(e) => return Err(e),
        }
        self.cursor = Some(next);
        self.entries.len = count as usize;
        Ok(count as usize)
    }

    fn grow(&mut self) -> Result<()> {
        let most = self.map.shape.max_entries.max(1);
        if !HASHES.contains(&self.map.shape.kind) || self.chunk >= most {
            return Err(self.map.failed("reading a batch", io::Error::from_raw_os_error(libc::ENOSPC)));
        }
        self.chunk = self.chunk.saturating_mul(2).min(most);
        Ok(())
    }
}

/// How many CPUs per-CPU maps have room for.
fn possible_cpus() -> io::Result<usize> {
    let list = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    cpus_in(list.trim()).ok_or_else(|| io::Error::other("the list of possible CPUs cannot be read"))
}

/// How many numbers are in a list like `0-3,7`.
fn cpus_in(list: &str) -> Option<usize> {
    list.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?).map(|more| more + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::fd::AsFd};

    use super::*;

    const HASH: u32 = 1;
    const ARRAY: u32 = 2;
    const PER_CPU_HASH: u32 = 5;
    const LRU_HASH: u32 = 9;
    const NO_PREALLOC: u32 = 1;

    fn numbers(n: u32) -> Vec<([u8; 4], [u8; 8])> {
        (0..n).map(|i| (i.to_ne_bytes(), u64::from(i * 3).to_ne_bytes())).collect()
    }

    fn collect(walk: Walk<'_, '_>) -> BTreeMap<u32, u64> {
        let mut all = BTreeMap::new();
        walk.for_each(|k, v| {
            let old = all
                .insert(u32::from_ne_bytes(k.try_into().unwrap()), u64::from_ne_bytes(v.try_into().unwrap()));
            assert!(old.is_none(), "seen twice");
        })
        .unwrap();
        all
    }

    #[test]
    fn a_walk_sees_every_entry_once_whatever_the_chunk() {
        for kind in [HASH, LRU_HASH] {
            let fd = sys::create(kind, 4, 8, 20_000, 0).unwrap();
            let map = BatchMap::new(fd.as_fd()).unwrap();
            assert_eq!(map.update(&numbers(5000)).unwrap(), 5000);
            for chunk in [1, 7, 256, 100_000] {
                let all = collect(map.walk(chunk));
                assert_eq!(all.len(), 5000, "kind {kind} chunk {chunk}");
                assert!(all.iter().all(|(k, v)| u64::from(*k) * 3 == *v));
            }
        }
    }

    #[test]
    fn a_drain_leaves_nothing() {
        let fd = sys::create(HASH, 4, 8, 4096, NO_PREALLOC).unwrap();
        let map = BatchMap::new(fd.as_fd()).unwrap();
        map.update(&numbers(1000)).unwrap();
        assert_eq!(collect(map.drain(64)).len(), 1000);
        assert!(map.walk(64).next_chunk().unwrap().is_none());
    }

    #[test]
    fn keys_that_are_not_there_are_stepped_over() {
        let fd = sys::create(HASH, 4, 8, 64, 0).unwrap();
        let map = BatchMap::new(fd.as_fd()).unwrap();
        map.update(&numbers(10)).unwrap();
        let keys: Vec<_> = [99_u32, 1, 2, 98, 97, 3, 96].map(u32::to_ne_bytes).into();
        assert_eq!(map.delete(&keys).unwrap(), 3);
        assert_eq!(collect(map.walk(64)).len(), 7);
        assert_eq!(map.delete::<[u8; 4]>(&[]).unwrap(), 0);
    }

    #[test]
    fn taking_a_key_removes_it() {
        let fd = sys::create(LRU_HASH, 4, 8, 64, 0).unwrap();
        let map = BatchMap::new(fd.as_fd()).unwrap();
        map.update(&numbers(3)).unwrap();
        let key = 2_u32.to_ne_bytes();
        assert_eq!(map.lookup(&key).unwrap().unwrap(), 6_u64.to_ne_bytes());
        assert_eq!(map.take(&key).unwrap().unwrap(), 6_u64.to_ne_bytes());
        assert_eq!(map.take(&key).unwrap(), None);
        assert_eq!(map.lookup(&key).unwrap(), None);
    }

    #[test]
    fn a_per_cpu_value_has_room_for_every_cpu() {
        let fd = sys::create(PER_CPU_HASH, 4, 4, 64, 0).unwrap();
        let map = BatchMap::new(fd.as_fd()).unwrap();
        let size = map.shape().value_size;
        assert_eq!(size, 8 * possible_cpus().unwrap());
        map.update(&[(1_u32.to_ne_bytes(), vec![7; size])]).unwrap();
        let mut walk = map.walk(16);
        let entries = walk.next_chunk().unwrap().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries.iter().next().unwrap().1[..4], [7; 4]);
    }

    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(cpus_in("0"), Some(1));
        assert_eq!(cpus_in("0-3,7,9-10"), Some(7));
        assert_eq!(cpus_in(""), None);
    }

    #[test]
    fn an_array_is_walked_in_order() {
        let fd = sys::create(ARRAY, 4, 8, 100, 0).unwrap();
        let map = BatchMap::new(fd.as_fd()).unwrap();
        map.update(&numbers(100)).unwrap();
        assert_eq!(collect(map.walk(33)).len(), 100);
        let mut walk = map.walk(33);
        let first = walk.next_chunk().unwrap().unwrap();
        assert_eq!(first.iter_as::<4, 8>().unwrap().nth(5).unwrap().1, &15_u64.to_ne_bytes());
        assert!(first.iter_as::<4, 9>().is_none());
    }

    #[test]
    fn wrong_lengths_are_refused_before_the_kernel_sees_them() {
        let fd = sys::create(HASH, 4, 8, 64, 0).unwrap();
        let map = BatchMap::new(fd.as_fd()).unwrap();
        assert!(matches!(map.lookup(&[1]), Err(NetError::BpfSize { got: 1, want: 4, .. })));
        assert!(map.update(&[([0_u8; 4], [0_u8; 7])]).is_err());
        assert!(map.delete(&[[0_u8; 5]]).is_err());
    }

    #[test]
    fn a_descriptor_that_is_no_map_is_refused() {
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(BatchMap::new(file.as_fd()).is_err());
    }

    #[test]
    fn a_full_map_refuses_a_batch_with_the_kernels_reason() {
        let fd = sys::create(HASH, 4, 8, 4, 0).unwrap();
        let map = BatchMap::new(fd.as_fd()).unwrap();
        let Err(NetError::BpfMap { source, .. }) = map.update(&numbers(9)) else { panic!("it fits") };
        assert_eq!(source.raw_os_error(), Some(libc::E2BIG));
    }
}
