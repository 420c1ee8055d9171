//! A disk in memory that fills up, breaks or loses power at any step. For tests.
//!
//! It promises as little as POSIX does: a file's bytes last once it was synced, a folder's names once *it* was. What
//! was not synced may, after a power cut, be there in part: of a file any beginning, of a folder's changes any first few.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    path::{Component, Path},
    rc::Rc,
};

use crate::fs::{Fs, FsFile};

const NO_SPACE: i32 = 28;
const INPUT_OUTPUT: i32 = 5;
const NOT_EMPTY: i32 = 39;

/// What happens when the steps run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing ever again: the process is killed here.
    Stop,
    /// The disk is full: nothing that needs space works, removing and renaming does.
    Full,
    /// This one step fails; a write may have been half done.
    Broken,
}

type Names = BTreeMap<String, usize>;

#[derive(Debug, Clone)]
enum Node {
    File {
        now: Vec<u8>,
        lasting: Vec<u8>,
        mode: u32,
    },
    /// `changes` are the states that the folder went through since it was synced, the last being the present one.
    Dir {
        lasting: Names,
        changes: Vec<Names>,
    },
}

impl Node {
    fn dir() -> Self {
        Self::Dir { lasting: Names::new(), changes: Vec::new() }
    }
}

#[derive(Debug)]
struct Disk {
    nodes: RefCell<Vec<Node>>,
    /// Changing steps left before the fault.
    steps: Cell<u64>,
    fault: Cell<Fault>,
    stopped: Cell<bool>,
    taken: Cell<u64>,
}

/// A handle on the disk; clones see the same one.
#[derive(Debug, Clone)]
pub(crate) struct MemFs(Rc<Disk>);

#[derive(Debug)]
pub(crate) struct MemFile {
    fs: MemFs,
    node: usize,
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl MemFs {
    pub(crate) fn new() -> Self {
        Self::of(vec![Node::dir()])
    }

    fn of(nodes: Vec<Node>) -> Self {
        Self(Rc::new(Disk {
            nodes: RefCell::new(nodes),
            steps: Cell::new(u64::MAX),
            fault: Cell::new(Fault::Stop),
            stopped: Cell::new(false),
            taken: Cell::new(0),
        }))
    }

    /// Lets `steps` more changing steps succeed, then the fault happens.
    pub(crate) fn fail_after(&self, steps: u64, fault: Fault) {
        self.0.steps.set(steps);
        self.0.fault.set(fault);
    }

    pub(crate) fn heal(&self) {
        self.0.steps.set(u64::MAX);
        self.0.stopped.set(false);
    }

    /// How many changing steps there were so far.
    pub(crate) fn taken(&self) -> u64 {
        self.0.taken.get()
    }

    /// The disk as another process finds it after this one was killed.
    pub(crate) fn after_kill(&self) -> Self {
        Self::of(self.0.nodes.borrow().clone())
    }

    /// The disk after a power cut; `luck` says how much of what was not synced is there.
    pub(crate) fn after_power_cut(&self, luck: &mut impl FnMut(usize) -> usize) -> Self {
        let nodes = self.0.nodes.borrow().iter().map(|node| survive(node, luck)).collect();
        Self::of(nodes)
    }

    /// Counts a changing step; `grows` says that it needs space.
    fn step(&self, grows: bool) -> io::Result<()> {
        let disk = &self.0;
        if disk.stopped.get() {
            return Err(error(INPUT_OUTPUT));
        }
        disk.taken.set(disk.taken.get() + 1);
        if disk.steps.get() > 0 {
            disk.steps.set(disk.steps.get() - 1);
            return Ok(());
        }
        match disk.fault.get() {
            Fault::Stop => {
                disk.stopped.set(true);
                Err(error(INPUT_OUTPUT))
            }
            Fault::Full if grows => Err(error(NO_SPACE)),
            Fault::Full => Ok(()),
            Fault::Broken => {
                disk.steps.set(u64::MAX);
                Err(error(INPUT_OUTPUT))
            }
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let nodes = self.0.nodes.borrow();
        path.components().try_fold(0, |at, part| match part {
            Component::Normal(name) => match &nodes[at] {
                Node::Dir { lasting, changes } => {
                    let names = changes.last().unwrap_or(lasting);
                    names.get(name.to_str().unwrap()).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
                }
                Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
            },
            _ => Ok(at),
        })
    }

    fn parent(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok((self.find(path.parent().unwrap())?, name))
    }

    fn names(&self, dir: usize) -> io::Result<Names> {
        match &self.0.nodes.borrow()[dir] {
            Node::Dir { lasting, changes } => Ok(changes.last().unwrap_or(lasting).clone()),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn set_names(&self, dir: usize, names: Names) {
        if let Node::Dir { changes, .. } = &mut self.0.nodes.borrow_mut()[dir] {
            changes.push(names);
        }
    }

    fn insert(&self, path: &Path, node: Node) -> io::Result<usize> {
        let (dir, name) = self.parent(path)?;
        let mut names = self.names(dir)?;
        let index = self.0.nodes.borrow().len();
        self.0.nodes.borrow_mut().push(node);
        names.insert(name, index);
        self.set_names(dir, names);
        Ok(index)
    }
}

fn survive(node: &Node, luck: &mut impl FnMut(usize) -> usize) -> Node {
    match node {
        Node::File { now, lasting, mode } => {
            // Files only grow here, so what was synced is the beginning of what is there now.
            let unsynced = now.len() - lasting.len();
            let bytes = match luck(4) {
                0 => lasting.clone(),
                1 => now[..lasting.len() + luck(unsynced + 1)].to_vec(),
                _ => now.clone(),
            };
            Node::File { now: bytes.clone(), lasting: bytes, mode: *mode }
        }
        Node::Dir { lasting, changes } => {
            let reached = luck(changes.len() + 1);
            let names = if reached == 0 { lasting } else { &changes[reached - 1] };
            Node::Dir { lasting: names.clone(), changes: Vec::new() }
        }
    }
}

impl FsFile for MemFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.fs.step(true);
        // A full or broken disk takes a part first.
        let taken = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        if !self.fs.0.stopped.get()
            && let Node::File { now, .. } = &mut self.fs.0.nodes.borrow_mut()[self.node]
        {
            now.extend_from_slice(taken);
        }
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        self.fs.step(false)?;
        if let Node::File { now, lasting, .. } = &mut self.fs.0.nodes.borrow_mut()[self.node] {
            lasting.clone_from(now);
        }
        Ok(())
    }
}

impl Fs for MemFs {
    type File = MemFile;
    type Lock = ();

    fn lock(&self, _: &Path) -> io::Result<Option<()>> {
        Ok(Some(()))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let node = self.find(path)?;
        match &self.0.nodes.borrow()[node] {
            Node::File { now, .. } => Ok(now.clone()),
            Node::Dir { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.names(self.find(dir)?)?.into_keys().collect())
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        let node = self.find(path)?;
        match &self.0.nodes.borrow()[node] {
            Node::File { mode, .. } => Ok(*mode),
            Node::Dir { .. } => Ok(0o700),
        }
    }

    fn create_dir_all(&self, dir: &Path, _: u32) -> io::Result<()> {
        for path in dir.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if self.find(path).is_err() {
                self.step(true)?;
                self.insert(path, Node::dir())?;
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<MemFile> {
        self.step(true)?;
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = self.insert(path, Node::File { now: Vec::new(), lasting: Vec::new(), mode })?;
        Ok(MemFile { fs: self.clone(), node })
    }

    fn append(&self, path: &Path, mode: u32) -> io::Result<MemFile> {
        match self.find(path) {
            Ok(node) => Ok(MemFile { fs: self.clone(), node }),
            Err(_) => self.create(path, mode),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(false)?;
        let ((dir, old), (to_dir, new)) = (self.parent(from)?, self.parent(to)?);
        assert_eq!(dir, to_dir, "the store renames within a folder only");
        let mut names = self.names(dir)?;
        if let Some(in_the_way) = names.get(&new)
            && self.names(*in_the_way).is_ok_and(|names| !names.is_empty())
        {
            return Err(error(NOT_EMPTY));
        }
        let node = names.remove(&old).ok_or(io::ErrorKind::NotFound)?;
        names.insert(new, node);
        self.set_names(dir, names);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(false)?;
        let node = self.find(dir)?;
        if let Node::Dir { lasting, changes } = &mut self.0.nodes.borrow_mut()[node]
            && let Some(last) = changes.pop()
        {
            *lasting = last;
            changes.clear();
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let mut names = self.names(dir)?;
        if !names.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.step(false)?;
        names.remove(&name);
        self.set_names(dir, names);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let node = self.find(dir)?;
        if !self.names(node)?.is_empty() {
            return Err(error(NOT_EMPTY));
        }
        self.remove_file(dir)
    }
}
