package browser

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// patience is how long anything foreign may take, a start included. It is for
// a machine that is busy; nothing here waits for it to pass.
const patience = 30 * time.Second

func TestMain(m *testing.M) { ssetest.Main(m) }

// program returns the path of a command, and its Debian package is what to
// install without it: then the test is skipped, but in CI it fails.
func program(t *testing.T, command, debian string) string {
	t.Helper()
	path, err := exec.LookPath(command)
	if err == nil {
		return path
	}
	// Servers are often not on the path of users, who may start them all the same.
	if path, err = exec.LookPath(filepath.Join("/usr/sbin", command)); err == nil {
		return path
	}
	const missing = "there is no %s here: apt-get install %s"
	if os.Getenv("CI") != "" {
		t.Fatalf(missing, command, debian)
	}
	t.Skipf(missing, command, debian)
	return ""
}

// command prepares a program that is told to end when the test ends, and is
// killed if it does not, or if it takes too long.
func command(t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Second
	endWithParent(cmd)
	return cmd
}

// start starts cmd, and returns a function that sends it a signal and waits
// for its end.
func start(t *testing.T, cmd *exec.Cmd) (end func(os.Signal)) {
	t.Helper()
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // it is not asked for its opinion of being killed
	}()
	t.Cleanup(func() { <-done })
	return func(signal os.Signal) {
		t.Helper()
		_ = cmd.Process.Signal(signal)
		select {
		case <-done:
		case <-time.After(patience):
			assert.Fail(t, "the program does not end", cmd.Path)
		}
	}
}

// await waits until a condition holds.
func await(t *testing.T, condition func() bool) {
	t.Helper()
	for began := time.Now(); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			require.Fail(t, "it does not happen")
		}
	}
}

// next returns what comes next from a channel.
func next[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(patience):
		require.Fail(t, "nothing comes")
	}
	return value
}
