//! Map types to and from the raw bytes that batch system calls and test runs speak.

/// A value from exactly its bytes; `None` for any other length.
pub fn from_bytes<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked; `Pod` promises that any bytes are a valid value.
    Some(unsafe { core::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// A value's bytes.
pub fn as_bytes<T: aya::Pod>(value: &T) -> &[u8] {
    // SAFETY: `Pod` promises plain data; the map types have no padding (their size assertions).
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>()) }
}
