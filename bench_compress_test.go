package fanfare_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// BenchmarkCompress delivers events of JSON to 100 subscribers over HTTP, plain
// and compressed, alone and in bursts of 16. wire-B/delivery is what arrives of
// each event and saved-% how much less that is than plain. The subscribers are
// in this process and read without a look, so that the CPU time is that of the
// server and of the sockets.
func BenchmarkCompress(b *testing.B) {
	const subscribers = 100
	for _, size := range []int{200, 4 << 10} {
		for _, burst := range []int{1, 16} {
			for _, detach := range []bool{false, true} {
				for _, compress := range []bool{false, true} {
					b.Run(fmt.Sprintf("event=%dB/burst=%d/detach=%t/compress=%t", size, burst, detach, compress), func(b *testing.B) {
						compressed(b, &broker.Options{Detach: detach, Compress: compress}, subscribers, size, burst)
					})
				}
			}
		}
	}
}

func compressed(b *testing.B, opts *broker.Options, subscribers, size, burst int) {
	br := broker.New(opts)
	srv, addr, err := listen(br)
	if err != nil {
		b.Fatal(err)
	}
	var wire atomic.Int64
	var reading sync.WaitGroup
	var conns []net.Conn
	b.Cleanup(func() {
		br.Close()
		for _, conn := range conns {
			conn.Close()
		}
		reading.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			b.Error(err)
		}
	})
	for range subscribers {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"); err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReader(conn)
		if _, err := r.ReadString('\n'); err != nil {
			b.Fatal(err)
		}
		reading.Go(func() {
			for buf := make([]byte, 32<<10); ; {
				n, err := r.Read(buf)
				if wire.Add(int64(n)); err != nil {
					return
				}
			}
		})
	}
	events := documents(size, 64)
	plain, delivered := 0, uint64(0)
	round := func(i int) {
		for k := range burst {
			ev := events[(i*burst+k)%len(events)]
			id, err := br.Publish(b.Context(), ev)
			if err != nil {
				b.Fatal(err)
			}
			plain += len("id: \nevent: \ndata: \n\n") + len(id) + len(ev.Type) + len(ev.Data)
		}
		delivered += uint64(burst * subscribers)
		for deadline := time.Now().Add(patience); br.Stats().Delivered < delivered; time.Sleep(20 * time.Microsecond) {
			if time.Now().After(deadline) {
				b.Fatalf("%d deliveries of %d", br.Stats().Delivered, delivered)
			}
		}
	}
	round(0)
	plain = 0
	before := wire.Load()
	b.ReportAllocs()
	used := newUsage(b)
	i := 1
	for b.Loop() {
		round(i)
		i++
	}
	used.report("delivery", subscribers*burst)
	reportDeliveries(b, subscribers*burst)
	arrived := float64(wire.Load() - before)
	b.ReportMetric(arrived/float64(b.N*subscribers*burst), "wire-B/delivery")
	b.ReportMetric(100-100*arrived/float64(plain*subscribers), "saved-%")
	mustBeSmooth(b, br)
}

// documents returns n events of JSON, of about so many bytes.
func documents(size, n int) (events []sse.Event) {
	type order struct {
		ID       int     `json:"id"`
		Symbol   string  `json:"symbol"`
		Price    float64 `json:"price"`
		Quantity int     `json:"quantity"`
		State    string  `json:"state"`
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range n {
		var orders []order
		for data := []byte(nil); len(data) < size-40; {
			orders = append(orders, order{
				ID:       rnd.IntN(1_000_000),
				Symbol:   []string{"ACME", "GLOBEX", "INITECH", "UMBRELLA"}[rnd.IntN(4)],
				Price:    float64(rnd.IntN(100_000)) / 100,
				Quantity: rnd.IntN(500),
				State:    []string{"open", "filled", "partially filled", "cancelled"}[rnd.IntN(4)],
			})
			data, _ = json.Marshal(orders)
			if len(data) >= size-40 {
				events = append(events, sse.Event{Type: "orders", Data: string(data)})
			}
		}
	}
	return events
}
