//! The bpf(2) system call: its argument structures and nothing else.
#![expect(unsafe_code, reason = "bpf(2) has no wrapper in libc; pointers travel inside its argument")]

#[cfg(test)]
use std::os::fd::{FromRawFd, OwnedFd};
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(super) enum Command {
    #[cfg_attr(not(test), expect(dead_code, reason = "tests make their own maps"))]
    Create = 0,
    Lookup = 1,
    LookupAndDelete = 21,
    InfoByFd = 15,
    LookupBatch = 24,
    LookupAndDeleteBatch = 25,
    UpdateBatch = 26,
    DeleteBatch = 27,
}

/// `struct bpf_map_info`, as far as we read it.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct MapInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
    pub(super) name: [u8; 16],
}

/// The arm of `union bpf_attr` for one element.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The arm of `union bpf_attr` for batches.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// Calls bpf(2) with one arm of its union.
///
/// # Safety
/// `attr` must be the arm that `command` reads, and every address in it must be valid for what the command does.
unsafe fn bpf<A>(command: Command, attr: &mut A) -> io::Result<i32> {
    let (pointer, size) = (std::ptr::from_mut(attr), size_of::<A>());
    // SAFETY: the pointer and size describe `attr`; the caller vouches for what is in it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, pointer, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

pub(super) fn info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let length = size_of::<MapInfo>() as u32;
    let mut attr = InfoAttr { fd: raw(fd), length, info: std::ptr::from_mut(&mut info) as u64 };
    // SAFETY: `info` outlives the call and the kernel writes at most `length` bytes, its size. Were the descriptor a
    // program's or a link's, other fields would be written, still within it and still plain integers.
    unsafe { bpf(Command::InfoByFd, &mut attr) }?;
    Ok(info)
}

/// Reads (and for [`Command::LookupAndDelete`] removes) one element into `value`.
///
/// # Safety
/// `fd` must be a map whose keys have `key.len()` bytes and whose lookups write `value.len()` bytes.
pub(super) unsafe fn element(
    command: Command,
    fd: BorrowedFd<'_>,
    key: &[u8],
    value: &mut [u8],
) -> io::Result<()> {
    let (key, value) = (key.as_ptr() as u64, value.as_mut_ptr() as u64);
    let mut attr = ElementAttr { map_fd: raw(fd), _pad: 0, key, value, flags: 0 };
    // SAFETY: both slices outlive the call, and the caller vouches for their lengths.
    unsafe { bpf(command, &mut attr) }.map(drop)
}

/// One batch; returns how many elements the kernel handled, also when it stopped with an error.
///
/// # Safety
/// `fd` must be a map for which `keys` and `values` have room for (or, updating and deleting, hold) `count` elements,
/// and `cursor_in` and `cursor_out` room for its cursor: the larger of 4 bytes and its key size.
/// For [`Command::UpdateBatch`] and [`Command::DeleteBatch`] the kernel only reads the buffers.
#[expect(clippy::too_many_arguments, reason = "they are the fields of the kernel's structure")]
pub(super) unsafe fn batch(
    command: Command,
    fd: BorrowedFd<'_>,
    cursor_in: Option<&[u8]>,
    cursor_out: Option<&mut [u8]>,
    keys: *mut u8,
    values: *mut u8,
    count: u32,
    element_flags: u64,
) -> (u32, io::Result<()>) {
    let mut attr = BatchAttr {
        in_batch: cursor_in.map_or(0, |c| c.as_ptr() as u64),
        out_batch: cursor_out.map_or(0, |c| c.as_mut_ptr() as u64),
        keys: keys as u64,
        values: values as u64,
        count,
        map_fd: raw(fd),
        element_flags,
        flags: 0,
    };
    // SAFETY: the caller vouches for every buffer; the cursors are borrowed for the whole call.
    let result = unsafe { bpf(command, &mut attr) }.map(drop);
    (attr.count.min(count), result)
}

/// Creates a map, for tests.
#[cfg(test)]
pub(super) fn create(
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct CreateAttr {
        kind: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
    }
    let mut attr = CreateAttr { kind, key_size, value_size, max_entries, flags };
    // SAFETY: the arm of BPF_MAP_CREATE holds no addresses in these fields.
    let fd = unsafe { bpf(Command::Create, &mut attr) }?;
    // SAFETY: the kernel just gave us this descriptor and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
