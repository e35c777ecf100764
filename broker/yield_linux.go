package broker

import "syscall"

// yieldCore lets another thread have the core that this one is on, if one waits
// for it. The P stays with the thread, as if the kernel had taken the core away: with
// syscall.Syscall another thread might get it meanwhile, and this one have to wait
// for it once more.
func yieldCore() { _, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }
