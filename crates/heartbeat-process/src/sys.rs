//! The few calls that no safe wrapper offers. The only file of the workspace with `unsafe` code.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use heartbeat_status::Signal;
use rustix::event::{EventfdFlags, eventfd};

/// The first descriptor after the three standard ones.
pub(crate) const FIRST_HANDED_OVER: std::os::fd::RawFd = 3;

/// `PIDFD_SIGNAL_PROCESS_GROUP` of `<linux/pidfd.h>` (Linux 6.9): the signal goes to the group that the process
/// leads, also when the leader itself has been reaped.
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Sends a signal (0: only asks) to the process group led by the process behind `pidfd`.
///
/// # Errors
/// ESRCH: the group has no process left. EINVAL: the kernel is older than 6.9.
pub(crate) fn signal_group(pidfd: BorrowedFd<'_>, signal: Option<Signal>) -> io::Result<()> {
    let number = signal.map_or(0, |signal| libc::c_int::from(signal.number()));
    #[expect(unsafe_code, reason = "no wrapper passes flags to pidfd_send_signal")]
    // SAFETY: the descriptor is borrowed and open; a null siginfo is allowed; nothing else is a pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            PIDFD_SIGNAL_PROCESS_GROUP,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to the process behind `pidfd` alone; any signal number, real-time ones included.
///
/// # Errors
/// ESRCH: it has been reaped.
pub(crate) fn signal_process(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    #[expect(unsafe_code, reason = "rustix knows no real-time signals")]
    // SAFETY: as above.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::c_int::from(signal.number()),
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `PIDFD_GET_INFO` of `<linux/pidfd.h>` for the first published size of `struct pidfd_info`, 64 bytes.
const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;
/// The flag `PIDFD_INFO_EXIT` of the kernel.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// The first published form of `struct pidfd_info`.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid, and eight user and group ids.
    ids: [u32; 11],
    exit_code: i32,
}

/// The wait(2) status of the process behind `pidfd`, whichever process reaped it. `None` while it is not reaped, and on
/// kernels older than 6.15.
pub(crate) fn exit_of_reaped(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    #[expect(unsafe_code, reason = "no wrapper knows this request")]
    // SAFETY: the descriptor is open, the structure has the size that the request encodes; the kernel writes no more.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Which side of a fork this process is.
#[derive(Debug)]
pub(crate) enum Fork {
    /// The parent, with the pid of the child, and its pidfd if the kernel has made one.
    Parent(u32, Option<OwnedFd>),
    Child,
}

/// `struct clone_args` of `<linux/sched.h>` in its third form.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Flags of clone3 in `<linux/sched.h>`.
const CLONE_VM: u64 = 0x100;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

impl CloneArgs {
    /// A child of our own parent; in the control group whose directory `group` is, if one is given. (A process that
    /// enters a group makes the kernel wait for all its processors, 10 ms and more; one that is born in it costs
    /// nothing.) With CLONE_PARENT the child uses our own exit signal, and the kernel accepts no other.
    fn beside(group: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let (flags, cgroup) = match group {
            Some(group) => (
                CLONE_PARENT | CLONE_PIDFD | CLONE_INTO_CGROUP,
                u64::try_from(group.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?,
            ),
            None => (CLONE_PARENT | CLONE_PIDFD, 0),
        };
        Ok(Self { flags, cgroup, ..Self::default() })
    }
}

/// Makes a copy of this process. For a process with one thread: the copy runs on with a copy of everything.
///
/// # Errors
/// EINVAL: the kernel is older than 5.7, and a group was given. ENOSYS: older than 5.3, or a filter blocks clone3.
/// EACCES: the group is not ours. EBUSY: the group has enabled controllers for groups below it.
pub(crate) fn fork_beside(group: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut pidfd: libc::c_int = -1;
    let args = CloneArgs { pidfd: (&raw mut pidfd).addr() as u64, ..CloneArgs::beside(group)? };
    #[expect(unsafe_code, reason = "no wrapper forks into a control group, or beside itself")]
    // SAFETY: without CLONE_VM the child has its own copy of the address space and goes on as after fork(2); the caller
    // is the launcher, which has one thread, so no missing thread holds a lock. The size passed is that of the
    // structure. The kernel writes the number of the pidfd, which nothing else owns, to `pidfd`, which outlives the call.
    let (pid, pidfd) = unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>());
        let pidfd = std::ptr::read_volatile(&raw const pidfd);
        (pid, (pid > 0 && pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd)))
    };
    forked(pid, pidfd)
}

/// The same without a control group, by the older call.
///
/// # Errors
/// EAGAIN, ENOMEM: as fork(2).
pub(crate) fn fork_beside_by_clone() -> io::Result<Fork> {
    #[expect(unsafe_code, reason = "no wrapper forks beside itself")]
    // SAFETY: as above. Without a stack of its own the child goes on with its copy of ours. Every other argument is
    // null, so their order, which depends on the architecture, does not matter.
    let pid = unsafe { libc::syscall(libc::SYS_clone, CLONE_PARENT, 0usize, 0usize, 0usize, 0usize) };
    forked(pid, None)
}

fn forked(pid: libc::c_long, pidfd: Option<OwnedFd>) -> io::Result<Fork> {
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(u32::try_from(pid).map_err(|_| io::ErrorKind::InvalidData)?, pidfd)),
    }
}

/// Stack of a child that shares our memory, in units of 16 bytes, to which it is aligned: 64 KiB.
const CHILD_STACK_UNITS: usize = 4_096;

/// Room in our memory for a child that shares it until it calls execve or ends. It is never freed: such a child may
/// outlive our program.
pub(crate) struct ChildRoom<T: 'static>(&'static ChildMemory<T>);

struct ChildMemory<T> {
    /// Not 0 while a child uses this room: the kernel writes the 0.
    child: AtomicU32,
    stack: UnsafeCell<Box<[MaybeUninit<u128>]>>,
    main: fn(&T) -> u8,
    task: UnsafeCell<Option<T>>,
}

impl<T> ChildRoom<T> {
    /// `main` is what the children do here; its result is their exit code. It may neither allocate nor take a lock, since
    /// SIGKILL may end it anywhere, and it may not call the C library, whose `errno` it would share with us.
    pub(crate) fn new(main: fn(&T) -> u8) -> Self {
        let stack = UnsafeCell::new(Box::new_uninit_slice(CHILD_STACK_UNITS));
        let memory = ChildMemory { child: AtomicU32::new(0), stack, main, task: UnsafeCell::new(None) };
        Self(Box::leak(Box::new(memory)))
    }

    /// No child uses it.
    pub(crate) fn is_free(&self) -> bool {
        self.0.child.load(Ordering::Acquire) == 0
    }

    /// Begins a child with `task`, which stays here until the next one; in a room that is free. The child has a copy of
    /// our descriptors. No signal may have a handler, which the child would run in our memory.
    ///
    /// # Errors
    /// As [`fork_beside`]. ENOSYS also on an architecture for which this file does not know how.
    pub(crate) fn begin(&mut self, task: T, group: Option<BorrowedFd<'_>>) -> io::Result<(u32, OwnedFd)> {
        if !self.is_free() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let memory = self.0;
        let mut pidfd: libc::c_int = -1;
        let mut args = CloneArgs { pidfd: (&raw mut pidfd).addr() as u64, ..CloneArgs::beside(group)? };
        args.flags |= CLONE_VM | CLONE_CHILD_CLEARTID;
        args.child_tid = memory.child.as_ptr().addr() as u64;
        memory.child.store(1, Ordering::Release);
        #[expect(unsafe_code, reason = "no wrapper makes a child that shares our memory, in a control group")]
        // SAFETY: the room is free and `self` is the only handle to it, so nothing else uses the task and the stack,
        // and neither is ever freed. The kernel writes the number of the pidfd, which nothing else owns, to `pidfd`
        // before the call returns.
        let (pid, pidfd) = unsafe {
            *memory.task.get() = Some(task);
            let stack = &mut *memory.stack.get();
            args.stack = stack.as_mut_ptr().addr() as u64;
            args.stack_size = size_of_val::<[_]>(stack) as u64;
            let pid = clone_and_call(&args, enter::<T>, std::ptr::from_ref(memory).cast());
            let pidfd = std::ptr::read_volatile(&raw const pidfd);
            (pid, (pid > 0 && pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd)))
        };
        match (u32::try_from(pid), pidfd) {
            (Ok(pid), Some(pidfd)) => Ok((pid, pidfd)),
            _ => {
                memory.child.store(0, Ordering::Release);
                Err(io::Error::from_raw_os_error(i32::try_from(-pid).unwrap_or(libc::EINVAL)))
            }
        }
    }
}

/// The first function of a child, on its own stack.
extern "C" fn enter<T>(memory: *const libc::c_void) -> ! {
    #[expect(unsafe_code, reason = "the kernel passes a bare pointer")]
    // SAFETY: it is the room that `ChildRoom::begin` has just filled, and that nothing changes while the child uses it.
    let code = unsafe {
        let memory = &*memory.cast::<ChildMemory<T>>();
        (*memory.task.get()).as_ref().map_or(u8::MAX, memory.main)
    };
    loop {
        let _ = direct(libc::SYS_exit_group, [usize::from(code), 0, 0]);
    }
}

/// Calls clone3. The child calls `call` with `argument` on the stack in `args`; for us it returns the pid, or an error
/// number below 0.
#[cfg(target_arch = "x86_64")]
fn clone_and_call(
    args: &CloneArgs,
    call: extern "C" fn(*const libc::c_void) -> !,
    argument: *const libc::c_void,
) -> libc::c_long {
    let mut result = libc::SYS_clone3;
    #[expect(unsafe_code, reason = "the child must not return into our frames")]
    // SAFETY: the kernel preserves every register but the three that are named. The child never comes behind `ud2`: it
    // has a stack of its own, whose top is aligned, and calls a function that does not return.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {call}",
            "ud2",
            "2:",
            call = in(reg) call,
            argument = in(reg) argument,
            inout("rax") result,
            in("rdi") std::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// The same for this architecture.
#[cfg(target_arch = "aarch64")]
fn clone_and_call(
    args: &CloneArgs,
    call: extern "C" fn(*const libc::c_void) -> !,
    argument: *const libc::c_void,
) -> libc::c_long {
    let result: libc::c_long;
    #[expect(unsafe_code, reason = "the child must not return into our frames")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {argument}",
            "blr {call}",
            "brk 1",
            "2:",
            call = in(reg) call,
            argument = in(reg) argument,
            in("x8") libc::SYS_clone3,
            inout("x0") std::ptr::from_ref(args) => result,
            in("x1") size_of::<CloneArgs>(),
        );
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn clone_and_call(
    _: &CloneArgs,
    _: extern "C" fn(*const libc::c_void) -> !,
    _: *const libc::c_void,
) -> libc::c_long {
    libc::c_long::from(-libc::ENOSYS)
}

/// A system call without the C library, which would keep the error in memory that a child may share.
fn direct(number: libc::c_long, [first, second, third]: [usize; 3]) -> io::Result<usize> {
    #[cfg(target_arch = "x86_64")]
    let result = {
        let mut result = number;
        #[expect(unsafe_code, reason = "rustix has no such call in its stable interface")]
        // SAFETY: the kernel preserves every register but the three that are named. What the call does to memory, its
        // callers answer for, below: they pass pointers to what outlives it.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") result, in("rdi") first, in("rsi") second, in("rdx") third,
                lateout("rcx") _, lateout("r11") _);
        }
        result
    };
    #[cfg(target_arch = "aarch64")]
    let result = {
        let mut result = first;
        #[expect(unsafe_code, reason = "rustix has no such call in its stable interface")]
        // SAFETY: as above.
        unsafe {
            std::arch::asm!("svc 0", in("x8") number, inlateout("x0") result, in("x1") second, in("x2") third);
        }
        result.cast_signed() as libc::c_long
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let result = {
        #[expect(unsafe_code, reason = "rustix has no such call in its stable interface")]
        // SAFETY: as above. Here no child shares our memory.
        let result = unsafe { libc::syscall(number, first, second, third) };
        if result == -1 {
            -libc::c_long::from(io::Error::last_os_error().raw_os_error().unwrap_or(0))
        } else {
            result
        }
    };
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(0)))
}

/// Arguments or environment of a program, as the kernel reads them.
pub(crate) struct Words {
    _texts: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Words {
    pub(crate) fn new(texts: Vec<CString>) -> Self {
        let pointers = texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Self { _texts: texts, pointers }
    }
}

/// Becomes another program. Returns only when that fails, with the error.
pub(crate) fn execute(program: &CStr, words: &Words, environment: &Words) -> io::Error {
    // Both lists end with a null pointer, and own what they point to.
    let pointers = [words, environment].map(|list| list.pointers.as_ptr().expose_provenance());
    let executed = direct(libc::SYS_execve, [program.as_ptr().expose_provenance(), pointers[0], pointers[1]]);
    executed.err().unwrap_or_else(|| io::ErrorKind::Other.into())
}

/// A descriptor in a child, which has a table of its own and closes none of those that it was given.
pub(crate) fn inherited(number: std::os::fd::RawFd) -> BorrowedFd<'static> {
    #[expect(unsafe_code, reason = "the memory that a child shares has the bare number")]
    // SAFETY: called by a child for a descriptor of its task, which is open in the child's own table until it ends.
    unsafe {
        BorrowedFd::borrow_raw(number)
    }
}

/// Gives every signal its default disposition. Handlers do not survive execve anyway; ignored signals do, and the
/// Rust runtime ignores SIGPIPE.
pub(crate) fn default_dispositions() {
    // The kernel's own structure, all zero: SIG_DFL, no flags, no restorer, an empty mask. The C library's wrapper
    // would refuse the two signals that it keeps for itself, and a parent may have left those ignored, too.
    let default = [0u64; 4];
    const SIGSET_BYTES: usize = 8;
    for number in 1..=64 {
        #[expect(unsafe_code, reason = "sigaction has no safe form")]
        // SAFETY: SIG_DFL is no handler, so nothing can run at a bad moment. The kernel reads 32 bytes and writes none;
        // for the numbers that cannot be changed (KILL, STOP) it answers EINVAL, as intended.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                SIGSET_BYTES,
            );
        }
    }
}

/// Marks every descriptor from `first` on to be closed by execve.
///
/// # Errors
/// ENOSYS on kernels older than 5.11.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // Only a flag of descriptors changes; none is closed before execve.
    let flags = libc::CLOSE_RANGE_CLOEXEC as usize;
    direct(libc::SYS_close_range, [first as usize, u32::MAX as usize, flags]).map(drop)
}

/// Closes every descriptor from 3 on, except `kept`.
///
/// # Errors
/// ENOSYS on kernels older than 5.9.
pub(crate) fn close_inherited(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, kept - 1), (kept + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        #[expect(unsafe_code, reason = "close_range has no safe form")]
        // SAFETY: the launcher calls it before it opens anything but `kept`, in its only thread: nothing in this
        // program owns the descriptors that are closed.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes over the descriptor that the launcher was given as standard input.
pub(crate) fn take_standard_input() -> OwnedFd {
    #[expect(unsafe_code, reason = "a descriptor that was inherited has no owner in Rust yet")]
    // SAFETY: called once, first, in a process that was spawned with its socket as descriptor 0 and that reads no
    // standard input.
    unsafe {
        OwnedFd::from_raw_fd(0)
    }
}

/// Where the SIGCHLD handler writes: an event descriptor of the reaper.
static CHILD_EVENTS: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_child(_signal: libc::c_int) {
    let fd = CHILD_EVENTS.load(Ordering::Relaxed);
    if fd >= 0 {
        let one = 1u64.to_ne_bytes();
        #[expect(unsafe_code, reason = "a signal handler may call nothing but async-signal-safe functions")]
        // SAFETY: write(2) is async-signal-safe; errno is put back, since the interrupted code may be about to read it.
        unsafe {
            let errno = *libc::__errno_location();
            libc::write(fd, one.as_ptr().cast(), one.len());
            *libc::__errno_location() = errno;
        }
    }
}

/// The event descriptor that counts every SIGCHLD of this process. The kernel reports stops and continuations of
/// children no other way; exits come by pidfd. It stays open as long as the process lives, since the handler may run at
/// any time.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn child_events() -> io::Result<BorrowedFd<'static>> {
    static EVENTS: OnceLock<OwnedFd> = OnceLock::new();
    let events = match EVENTS.get() {
        Some(events) => events,
        None => {
            let fresh = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            // Another thread may have been faster; then its descriptor stands and ours is closed.
            EVENTS.get_or_init(|| fresh)
        }
    };
    CHILD_EVENTS.store(events.as_raw_fd(), Ordering::Relaxed);
    #[expect(unsafe_code, reason = "sigaction has no safe form")]
    // SAFETY: the handler only does what a handler may; the structure is zeroed and then filled as documented.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_child as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut())
    };
    if result == 0 { Ok(events.as_fd()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over an open descriptor that the previous program left under the same pid; `None` when `number` is not open,
/// or is one of the three standard ones.
pub(crate) fn take_handed_over(number: std::os::fd::RawFd) -> Option<OwnedFd> {
    #[expect(unsafe_code, reason = "a descriptor that was inherited has no owner in Rust yet")]
    // SAFETY: F_GETFD of a bare number changes nothing. Our code has not opened anything yet, so the previous program
    // left every open descriptor beyond the standard ones, and it names each one once.
    unsafe {
        let open = number >= FIRST_HANDED_OVER && libc::fcntl(number, libc::F_GETFD) >= 0;
        open.then(|| OwnedFd::from_raw_fd(number))
    }
}

/// Keeps all memory in one arena of the allocator: with one per thread, what one thread has freed stays with it, and the
/// others cannot use it. Call it before any thread starts. Only with the GNU C library.
pub fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "mallopt has no safe form")]
        // SAFETY: it changes a number that the allocator reads when a thread allocates for the first time.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// How much nicer than heartbeatd a thread is that works in the background.
const BACKGROUND_NICE: i32 = 5;

/// The first published form of `struct sched_attr` of `<linux/sched/types.h>`.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Runtime, deadline and period, which only another policy has.
    times: [u64; 3],
}

/// This thread, and those that it makes, only write down what has happened: the threads that start realms and measure go
/// first. A real-time priority of heartbeatd is not for this thread either. If the kernel refuses, all are equal.
pub fn work_in_background() {
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: libc::SCHED_BATCH as u32,
        flags: 0,
        nice: own + BACKGROUND_NICE,
        priority: 0,
        times: [0; 3],
    };
    #[expect(unsafe_code, reason = "no wrapper sets policy and niceness of a thread")]
    // SAFETY: the kernel reads the structure, whose size it has; 0 names the calling thread.
    unsafe {
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0);
    }
}

/// Keeps what is freed for the next allocation, instead of giving it back to the kernel each time. Only with the GNU C
/// library.
pub(crate) fn keep_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "mallopt has no safe form")]
        // SAFETY: it changes a number that the allocator reads when memory is freed.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }
}

/// Takes the code of this program out of its memory. What runs again comes back from the page cache, in parts; most of
/// what reads a configuration and puts everything together does not run again for months.
fn drop_code() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some("r-xp")) = (words.next(), words.next()) else { continue };
        let Some((from, to)) = range.split_once('-').filter(|_| line.ends_with(&*program.to_string_lossy()))
        else {
            continue;
        };
        let (from, to) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16));
        let (Ok(from), Ok(to)) = (from, to) else { continue };
        let code = std::ptr::with_exposed_provenance_mut::<libc::c_void>(from);
        #[expect(unsafe_code, reason = "madvise has no safe form")]
        // SAFETY: the kernel has just named this range as a mapping of our program's file that is never written to. A
        // page that is used again is read from the file again, which cannot be written to while it runs.
        unsafe {
            libc::madvise(code, to.saturating_sub(from), libc::MADV_DONTNEED);
        }
    }
}

/// Gives memory back to the kernel that heartbeatd does not need once it runs: code, and the free pages of the allocator.
/// Those only with the GNU C library; others do that by themselves, or not at all.
pub fn give_back_free_memory() {
    drop_code();
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "malloc_trim has no safe form")]
        // SAFETY: it takes the allocator's own locks, and no memory that is in use is touched.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// The number of its bytes that are in the buffer.
    pub(crate) bytes: usize,
    /// The buffer holds all of it.
    pub(crate) whole: bool,
    /// The pid of the sender, as the kernel says; 0 for a sender outside our pid namespace.
    pub(crate) sender: u32,
}

/// A control message with the credentials of a sender, and room for nothing beside it.
#[repr(C)]
struct Credentials {
    header: libc::cmsghdr,
    sender: libc::ucred,
    /// Fills up to the alignment of a next header, of which there is none.
    padding: u32,
}

/// Takes the next datagram, and the pid of its sender, from a socket that passes credentials. The kernel closes
/// descriptors that come along, since they find no room: none of them is ever ours.
///
/// # Errors
/// EAGAIN: there is none. It never waits.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    #[expect(unsafe_code, reason = "the wrappers take descriptors, or no pid of 0")]
    // SAFETY: both structures are plain data for which all zero is a value. The message points to one part and to one
    // control buffer, both with their true length, which outlive the call; the kernel writes no more than that. The
    // code reads the control buffer only if its header says that it holds whole credentials.
    let (count, flags, sender) = unsafe {
        let mut control: Credentials = std::mem::zeroed();
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Credentials>() as _;
        let count =
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC);
        let (level, kind) = (control.header.cmsg_level, control.header.cmsg_type);
        let whole = control.header.cmsg_len as usize >= size_of::<libc::cmsghdr>() + size_of::<libc::ucred>();
        let told = (level, kind) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) && whole;
        (count, message.msg_flags, if told { control.sender.pid } else { 0 })
    };
    let bytes = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let whole = flags & libc::MSG_TRUNC == 0;
    Ok(Datagram { bytes, whole, sender: u32::try_from(sender).unwrap_or(0) })
}

/// Most supplementary groups of a process; what Linux allows.
const MAX_PEER_GROUPS: usize = 65_536;

/// The supplementary groups that the process at the other end of a Unix socket had when it connected.
///
/// # Errors
/// The kernel does not say: it is older than Linux 4.13, or `socket` is not a connected Unix socket.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = libc::socklen_t::try_from(groups.len() * size_of::<libc::gid_t>())
            .map_err(|_| io::ErrorKind::InvalidData)?;
        #[expect(unsafe_code, reason = "the wrappers do not know this option")]
        // SAFETY: the kernel writes at most `length` bytes to `groups`, which has room for as many, and the number that
        // it needs to `length`. Both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // On ERANGE, `length` is what the kernel needs.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > MAX_PEER_GROUPS {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// Takes over a descriptor that the kernel has just handed to this process in a message.
pub(crate) fn own(received: std::os::fd::RawFd) -> OwnedFd {
    #[expect(unsafe_code, reason = "the control message carries a bare number")]
    // SAFETY: SCM_RIGHTS installs a fresh descriptor for the receiver; no other code knows its number.
    unsafe {
        OwnedFd::from_raw_fd(received)
    }
}
