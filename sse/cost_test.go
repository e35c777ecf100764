package sse_test

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

func TestAnEventCostsAtMostOneAllocation(t *testing.T) {
	const events = 1000
	for name, c := range map[string]struct {
		format string // as numbered takes it
		most   float64
	}{
		"small, with an ID":           {"id: {i}\ndata: {i}\n\n", 0.1},
		"named, two lines":            {"event: update\r\ndata: line {i}\r\ndata: and another one\r\n\r\n", 0.1},
		"of a language model":         {"data: " + chunk + "{i}\n\n", 0.1},
		"with the same ID and type":   {"id: the ID\nevent: update\ndata: " + chunk + "{i}\n\n", 0.1},
		"large":                       {"data: " + strings.Repeat("x", 600) + "{i}\n\n", 1.01},
		"with an ID, cut by the read": {"id: {i}\ndata: " + strings.Repeat("x", 4000) + "{i}\n\n", 1.1},
		"of text beyond ASCII":        {"data: " + strings.Repeat("é", 100) + "{i}\n\n", 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			stream := numbered(c.format, events)
			r := bytes.NewReader(stream)
			d := sse.NewDecoder(r)
			n := 0
			allocs := testing.AllocsPerRun(10, func() {
				r.Reset(stream)
				d.Reset(r, "")
				for range d.Events() {
					n++
				}
			})
			require.Equal(t, 11*events, n)
			assert.LessOrEqual(t, allocs/events, c.most)
		})
	}
}

// numbered returns a stream of n events, with a number of seven digits for each
// {i} in format.
func numbered(format string, n int) []byte {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(strings.ReplaceAll(format, "{i}", strconv.Itoa(1_000_000+i)))
	}
	return b.Bytes()
}

// growing are streams of n bytes or a few more whose cost a careless decoder
// has grow with the square of n.
var growing = map[string]func(n int) (d *sse.Decoder){
	"one line": func(n int) *sse.Decoder {
		return sse.NewDecoder(&smallReads{r: strings.NewReader("data: " + strings.Repeat("x", n) + "\n\n"), n: 4096})
	},
	"one line in bytes": func(n int) *sse.Decoder {
		return sse.NewDecoder(&smallReads{r: strings.NewReader("data: " + strings.Repeat("x", n) + "\n\n"), n: 1})
	},
	"data lines": func(n int) *sse.Decoder {
		return sse.NewDecoder(strings.NewReader(strings.Repeat("data: x\n", n/8) + "\n"))
	},
	"events ended by CR in one buffer": func(n int) *sse.Decoder {
		// A line as long as all the others together makes the buffer hold them.
		line := "data: " + strings.Repeat("x", 40) + "\r\r"
		return sse.NewDecoder(strings.NewReader(":" + strings.Repeat("x", n) + "\r" + strings.Repeat(line, n/len(line))))
	},
	"comments in a block": func(n int) *sse.Decoder {
		return sse.NewDecoder(strings.NewReader("id: 1\ndata: x\ndata: y\n" + strings.Repeat(":\n", n/2) + "\n"))
	},
}

// smallReads reads at most n bytes at a time.
type smallReads struct {
	r *strings.Reader
	n int
}

func (s *smallReads) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func TestDecodingTakesLinearTime(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const factor = 16
	for name, decoder := range growing {
		t.Run(name, func(t *testing.T) {
			once := func(n int) time.Duration {
				d := decoder(n)
				start := time.Now()
				for _, err := range d.Events() {
					require.NoError(t, err)
				}
				return time.Since(start)
			}
			// The machine may be busy with other things, so the best of a few counts.
			small, large := time.Hour, time.Hour
			isLinear := func() bool { return large < 5*factor*small+time.Millisecond }
			for start, try := time.Now(), 0; try < 5 || try < 50 && !isLinear(); try++ {
				if try > 0 && time.Since(start) > 10*time.Second {
					break
				}
				small, large = min(small, once(1<<16)), min(large, once(factor<<16))
			}
			assert.True(t, isLinear(), "%d times as much took %v after %v", factor, large, small)
		})
	}
}

func BenchmarkDecodeGrowing(b *testing.B) {
	for name, decoder := range growing {
		for n := 1 << 20; n <= 64<<20; n *= 8 {
			b.Run(fmt.Sprintf("%s/%dMiB", name, n>>20), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					b.StopTimer()
					d := decoder(n)
					d.SetMaxEventSize(-1)
					b.StartTimer()
					for _, err := range d.Events() {
						require.NoError(b, err)
					}
				}
			})
		}
	}
}
