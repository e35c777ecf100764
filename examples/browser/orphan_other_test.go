//go:build !linux

package browser

import "os/exec"

// endWithParent does nothing: only Linux can tie one process to another.
func endWithParent(*exec.Cmd) {}
