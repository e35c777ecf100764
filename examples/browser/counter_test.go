package browser

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheCountersPageGoesOnWhenItsServerIsKilled(t *testing.T) {
	t.Parallel()
	program(t, "chromium", "chromium") // before anything is built
	counter := filepath.Join(t.TempDir(), "counter")
	out, err := command(t, "go", "build", "-o", counter, "github.com/fanfare-go/fanfare/examples/counter").CombinedOutput()
	require.NoError(t, err, "%s", out)
	addr := vacant(t)

	end := count(t, counter, addr)
	b := chromium(t)
	do(b, chromedp.Navigate("http://"+addr+"/"))
	b.await("document.body.dataset.state === 'open' && seen.received >= 40")
	shown := value[int](b, "Number($('number').textContent)")
	b.await("Number($('number').textContent) > %d", shown)
	keep(b, "counter-open.png")

	end(os.Kill)
	b.await("document.body.dataset.state === 'reconnecting'")
	before := value[int](b, "seen.received")
	keep(b, "counter-reconnecting.png")

	end = count(t, counter, addr)
	// The new one begins with 1, and was told to say so.
	b.await("document.body.dataset.state === 'open' && seen.received > %d", before+40)
	assert.Contains(t, value[string](b, "$('log').textContent"), "The server no longer has what came after")
	keep(b, "counter-back.png")

	end(syscall.SIGTERM)
	b.await("document.body.dataset.state === 'reconnecting'")
	count(t, counter, addr)
	b.await("document.body.dataset.state === 'open' && seen.reconnected >= 2")
	assert.Equal(t, []int{0, 0}, value[[]int](b, "[seen.missed, seen.repeated]"))
}

// vacant returns an address on which nobody listens.
func vacant(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// count starts the counter, and returns a function that ends it by a signal.
func count(t *testing.T, path, addr string) (end func(os.Signal)) {
	t.Helper()
	cmd := command(t, path, "-addr", addr, "-interval", "50ms")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	end = start(t, cmd)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(line, "Counting at http://"+addr), line)
	return end
}

// keep keeps a picture of the page, for people to look at.
func keep(b *tab, name string) {
	b.t.Helper()
	dir := os.Getenv("ARTIFACTS")
	if dir == "" {
		dir = "artifacts"
	}
	require.NoError(b.t, os.MkdirAll(dir, 0o777))
	picture := do(b, chromedp.CaptureScreenshot())
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name), picture, 0o666))
}
