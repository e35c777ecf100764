package browser

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

func TestCurlAndGzipReadACompressedStream(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		detach, tls bool
		args        []string
	}{
		"over HTTP/1.1":           {},
		"over HTTP/1.1, detached": {detach: true},
		"over HTTP/2":             {tls: true, args: []string{"--insecure"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gzip := program(t, "gzip", "gzip")
			s := newSite(t, broker.Options{Compress: true, Detach: test.detach, Heartbeat: 100 * time.Millisecond}, test.tls)
			args := append(test.args, "--no-buffer", s.url()+"/events")
			plain := curl(t, append(args, "--compressed")...)
			var packed bytes.Buffer
			raw := command(t, program(t, "curl", "curl"),
				append([]string{"--silent", "--noproxy", "*", "--header", "Accept-Encoding: gzip"}, args...)...)
			raw.Stdout = &packed
			require.NoError(t, raw.Start())
			s.awaitSubscribers(2)
			events := s.publish(50)
			time.Sleep(3 * s.opts.Heartbeat)
			s.shutdown()

			body := plain(0)
			require.NoError(t, raw.Wait())
			check := command(t, gzip, "--test")
			check.Stdin = bytes.NewReader(packed.Bytes())
			out, err := check.CombinedOutput()
			require.NoError(t, err, "%s", out)
			unpack := command(t, gzip, "--decompress", "--stdout")
			unpack.Stdin = &packed
			text, err := unpack.Output()
			require.NoError(t, err)
			for _, a := range events {
				block := "id: " + a.ID + "\nevent: " + a.Type + "\ndata: " + a.Data + "\n\n"
				assert.Equal(t, 1, strings.Count(body, block))
				assert.Equal(t, 1, strings.Count(string(text), block))
			}
			assert.Contains(t, body, ":\n\n")
		})
	}
}

func TestChromiumFollowsACompressedStream(t *testing.T) {
	t.Parallel()
	b := chromium(t)
	for name, test := range map[string]struct{ detach, tls bool }{
		"HTTP/1.1":           {},
		"HTTP/1.1, detached": {detach: true},
		"HTTP/2":             {tls: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, broker.Options{Compress: true, Detach: test.detach}, test.tls)
			p := b.open(t, s.url())
			s.awaitSubscribers(1)
			want := s.publish(1)
			assert.Equal(t, want, p.arrivals(1), "it is not held back")
			want = append(want, s.publish(100)...)
			assert.Equal(t, want, p.arrivals(101))

			s.shutdown() // in order, and then it comes back
			s.start()
			s.awaitSubscribers(1)
			want = append(want, s.publish(3)...)
			assert.Equal(t, want, p.arrivals(104))
			s.crash() // in the middle of the stream
			s.start()
			want = append(want, s.publish(3)...)
			assert.Equal(t, want, p.arrivals(107))
			assert.Equal(t, 3, len(s.requests()))
			do(p, chromedp.Evaluate[any]("source.close()"))
		})
	}
}
