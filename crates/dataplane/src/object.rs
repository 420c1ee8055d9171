//! The packet programs, embedded.

/// The object's bytes, at the alignment its parser wants.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/keel.o")));

/// The object file.
pub(crate) fn bytes() -> &'static [u8] {
    &OBJECT.0
}
