//! Whether execve(2) can execute a program, and which file is at fault when it cannot: the program itself, the
//! interpreter in its `#!` line, or the loader that it names as an ELF program. If one of the latter two is missing,
//! execve says ENOENT, as if the program itself were missing.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};

use crate::failure::{Failure, failed};
use crate::notice::Step;

/// Most bytes that the kernel reads of a `#!` line.
const MAX_LINE_BYTES: usize = 256;
/// Longest chain of interpreters that are scripts themselves; the kernel follows no more.
const MAX_INTERPRETERS: u32 = 5;
/// Most program headers that [`loader`] reads; real programs have about ten.
const MAX_PROGRAM_HEADERS: u64 = 128;
const PT_INTERP: u32 = 3;

/// Finds the first program that can be executed, as execvp does.
pub(crate) fn find(candidates: &[CString]) -> Result<(), Failure> {
    let mut errno = Errno::ENOENT;
    for candidate in candidates {
        match check(Path::new(OsStr::from_bytes(candidate.as_bytes())), MAX_INTERPRETERS) {
            Ok(()) => return Ok(()),
            Err(failure) if failure.step != Step::Exec => return Err(failure),
            Err(failure) => match Errno::from_raw(failure.errno) {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => errno = Errno::EACCES,
                other => return Err(failed(Step::Exec)(other)),
            },
        }
    }
    Err(failed(Step::Exec)(errno))
}

/// The interpreter or loader that kept all of these from being executed.
pub(crate) fn helper_at_fault(candidates: &[CString]) -> Option<Failure> {
    find(candidates).err().filter(|failure| failure.step != Step::Exec)
}

fn check(program: &Path, interpreters: u32) -> Result<(), Failure> {
    may_execute(program).map_err(failed(Step::Exec))?;
    // A program that may be executed but not read cannot be checked further.
    let Ok(file) = File::open(program) else { return Ok(()) };
    let Some((step, helper)) = helper(&file).map_err(failed(Step::Exec))? else { return Ok(()) };
    let unusable = |errno: Errno| Failure { step, errno: errno as i32, path: Some(helper.clone()) };
    may_execute(&helper).map_err(unusable)?;
    match interpreters.checked_sub(1) {
        // The interpreter may be a script itself.
        Some(left) if step == Step::Interpreter => {
            check(&helper, left).map_err(|failure| match failure.path {
                None => unusable(Errno::from_raw(failure.errno)),
                Some(_) => failure,
            })
        }
        Some(_) => Ok(()),
        None => Err(unusable(Errno::ELOOP)),
    }
}

/// Checks with the effective ids, as execve does.
fn may_execute(path: &Path) -> Result<(), Errno> {
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if is_file { Ok(()) } else { Err(Errno::EACCES) }
}

/// The interpreter that runs in place of a program, or the loader that loads it.
fn helper(file: &File) -> Result<Option<(Step, PathBuf)>, Errno> {
    let mut line = [0; MAX_LINE_BYTES];
    let length = file.read_at(&mut line, 0).unwrap_or(0);
    let line = &line[..length];
    if let Some(rest) = line.strip_prefix(b"#!") {
        let rest = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words =
            rest.split(|byte| matches!(byte, b' ' | b'\t' | b'\0')).filter(|word| !word.is_empty());
        let name = words.next().ok_or(Errno::ENOEXEC)?;
        return Ok(Some((Step::Interpreter, PathBuf::from(OsStr::from_bytes(name)))));
    }
    if line.starts_with(b"\x7fELF") {
        return Ok(loader(file).ok().flatten().map(|path| (Step::Loader, path)));
    }
    Err(Errno::ENOEXEC)
}

/// The loader that an ELF program of this machine's byte order names; `None`: it needs none, or is for another machine.
fn loader(file: &File) -> io::Result<Option<PathBuf>> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    // EI_CLASS and EI_DATA of elf(5).
    let (wide, little) = (header[4] == 2, header[5] == 1);
    if !little || cfg!(target_endian = "big") {
        return Ok(None);
    }
    let (table, size, count) = if wide {
        (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]))
    } else {
        (number(&header[28..32]), number(&header[42..44]), number(&header[44..46]))
    };
    let mut entry = vec![0; usize::try_from(size).unwrap_or(0).clamp(56, MAX_LINE_BYTES)];
    for at in 0..count.min(MAX_PROGRAM_HEADERS) {
        file.read_exact_at(&mut entry, table.saturating_add(at * size))?;
        if number(&entry[..4]) != u64::from(PT_INTERP) {
            continue;
        }
        let (offset, length) = if wide {
            (number(&entry[8..16]), number(&entry[32..40]))
        } else {
            (number(&entry[4..8]), number(&entry[16..20]))
        };
        let mut path = vec![0; usize::try_from(length).unwrap_or(0).min(MAX_LINE_BYTES)];
        file.read_exact_at(&mut path, offset)?;
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        return Ok(Some(PathBuf::from(OsStr::from_bytes(path))));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn found(path: &Path) -> Result<(), (Step, Errno, Option<PathBuf>)> {
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        find(&[name]).map_err(|failure| (failure.step, Errno::from_raw(failure.errno), failure.path))
    }

    #[test]
    fn the_realm_at_fault_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8], mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        assert_eq!(found(Path::new("/bin/sh")), Ok(()));
        assert_eq!(found(&std::env::current_exe().unwrap()), Ok(()));
        assert_eq!(found(&file("script", b"#! /bin/sh -e\n", 0o755)), Ok(()));
        let nested = format!("#!{}\n", dir.path().join("script").display());
        assert_eq!(found(&file("nested", nested.as_bytes(), 0o755)), Ok(()));
        let missing = dir.path().join("missing");
        assert_eq!(found(&missing), Err((Step::Exec, Errno::ENOENT, None)));
        assert_eq!(found(&file("plain", b"#!/bin/sh\n", 0o644)), Err((Step::Exec, Errno::EACCES, None)));
        assert_eq!(found(dir.path()), Err((Step::Exec, Errno::EACCES, None)));
        assert_eq!(found(&file("empty", b"", 0o755)), Err((Step::Exec, Errno::ENOEXEC, None)));
        assert_eq!(found(&file("text", b"echo\n", 0o755)), Err((Step::Exec, Errno::ENOEXEC, None)));
        let broken = file("broken", b"#!venv/bin/python3 -u\n", 0o755);
        let interpreter = Some(PathBuf::from("venv/bin/python3"));
        assert_eq!(found(&broken), Err((Step::Interpreter, Errno::ENOENT, interpreter.clone())));
        let nested = format!("#!{}\n", broken.display());
        let nested = file("twice", nested.as_bytes(), 0o755);
        assert_eq!(found(&nested), Err((Step::Interpreter, Errno::ENOENT, interpreter)));
        let plain = dir.path().join("plain");
        let by_plain = file("by-plain", format!("#!{}\n", plain.display()).as_bytes(), 0o755);
        assert_eq!(found(&by_plain), Err((Step::Interpreter, Errno::EACCES, Some(plain))));
        let round = dir.path().join("round");
        file("round", format!("#!{}\n", round.display()).as_bytes(), 0o755);
        assert_eq!(found(&round), Err((Step::Interpreter, Errno::ELOOP, Some(round.clone()))));
    }

    #[test]
    fn a_loader_that_is_missing_is_named() {
        // A 64-bit header, one program header (PT_INTERP) behind it, and the name behind that.
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 3;
        elf[64 + 8] = 120;
        let name = b"/lib/ld-none.so.1\0";
        elf[64 + 32] = u8::try_from(name.len()).unwrap();
        elf.extend_from_slice(name);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::write(&path, &elf).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let loader = Some(PathBuf::from("/lib/ld-none.so.1"));
        assert_eq!(found(&path), Err((Step::Loader, Errno::ENOENT, loader)));
        // A damaged program must not make the check panic.
        for at in 0..elf.len() {
            let mut damaged = elf.clone();
            damaged[at] ^= 0xff;
            std::fs::write(&path, &damaged).unwrap();
            let _ = found(&path);
            std::fs::write(&path, &damaged[..at]).unwrap();
            let _ = found(&path);
        }
    }
}
