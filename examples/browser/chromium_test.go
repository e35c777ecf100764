package browser

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// A tab is a page in Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// chromium starts Chromium, with a profile of its own, and returns its first
// tab.
func chromium(t *testing.T) *tab {
	t.Helper()
	path := program(t, "chromium", "chromium")
	// Its tests have their own bounds, and may have to wait for each other.
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // root cannot have one
		chromedp.Flag("disable-gpu", true),
		chromedp.IgnoreCertErrors, // the tests sign their own
		chromedp.WindowSize(900, 1250),
		// A browser asks for updates, lists and the like. This one knows
		// nobody but this machine.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Flag("disable-component-update", true),
	)...)
	t.Cleanup(cancel)
	return newTab(t, ctx)
}

// open opens a page in a tab of its own, which the test that is named owns.
func (b *tab) open(t *testing.T, url string) *tab {
	t.Helper()
	another := newTab(t, b.ctx)
	do(another, chromedp.Navigate(url))
	return another
}

func newTab(t *testing.T, parent context.Context) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // of the first tab: it waits for the process
	require.NoError(t, chromedp.Do(ctx))           // nothing yet, but that opens it
	return &tab{t: t, ctx: ctx}
}

// do does something in a tab.
func do[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, action)
	require.NoError(b.t, err)
	return value
}

// value returns the value of an expression in the page.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	return do(b, chromedp.Evaluate[T](expression))
}

// await waits until a condition is true in the page.
func (b *tab) await(format string, args ...any) {
	b.t.Helper()
	condition := fmt.Sprintf(format, args...)
	for began := time.Now(); !value[bool](b, condition); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > patience {
			require.Fail(b.t, "it does not happen", condition)
		}
	}
}

// arrivals returns the events of the page in testdata, once it has so many.
func (b *tab) arrivals(n int) []arrival {
	b.t.Helper()
	b.await("arrivals.length >= %d", n)
	return value[[]arrival](b, "arrivals")
}
