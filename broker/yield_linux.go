package broker

import "syscall"

// yieldCore lets another thread have the core that this one is on, if one waits
// for it.
func yieldCore() { _, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }
