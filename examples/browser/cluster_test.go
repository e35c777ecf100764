package browser

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheClustersPageGoesOnWhenItsNodeIsKilled(t *testing.T) {
	t.Parallel()
	program(t, "chromium", "chromium") // before anything is built
	cluster := filepath.Join(t.TempDir(), "cluster")
	build := command(t, "go", "build", "-o", cluster, ".")
	build.Dir = filepath.Join("..", "cluster") // a module of its own
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	cmd := command(t, cluster, "-addr", "127.0.0.1:0", "-interval", "20ms")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	start(t, cmd)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	_, url, ok := strings.Cut(line, "Counting at ")
	require.True(t, ok, line)
	url, _, _ = strings.Cut(url, ",")

	b := chromium(t)
	do(b, chromedp.Navigate(url))
	b.await("document.body.dataset.state === 'open' && seen.received >= 20 && parts.length === 4")
	keep(b, "cluster-open.png")
	node := value[string](b, "node")
	click := "document.querySelector('#part-" + node + " button').click()"

	do(b, chromedp.Evaluate[any](click))
	b.await("document.body.dataset.state === 'reconnecting'")
	b.await("document.body.dataset.state === 'open' && node !== '%s'", node)
	before := value[int](b, "seen.received")
	b.await("seen.received > %d && parts.some((p) => !p.up)", before+40)
	keep(b, "cluster-moved.png")

	do(b, chromedp.Evaluate[any](click)) // it is now called Start
	b.await("parts.every((p) => p.up)")
	assert.Equal(t, []int{0, 0, 1}, value[[]int](b, "[seen.missed, seen.repeated, seen.moved]"))
	_ = cmd.Process.Signal(os.Interrupt) // in order, so that its folder goes
}
