package browser

import (
	"os/exec"
	"syscall"
)

// endWithParent has the system end cmd when the tests die: of a panic, or of
// their own timeout, when no cleanup runs.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
