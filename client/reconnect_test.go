package client_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

func TestReconnectOpensAnotherConnectionAtOnce(t *testing.T) {
	// run calls Reconnect once after a second and checks that this has led to
	// the second and last request, at that time, with that ID, and without a
	// wait, a failure or an error.
	run := func(t *testing.T, p *peer, opts client.Options, lastEventIDs ...string) {
		opts.MaxAttempts = 1
		opts.MaxBackoff = time.Hour
		opts.OnRetry = func(err error, _ time.Duration) { t.Error("waits after ", err) }
		c := p.client(opts)
		time.AfterFunc(time.Second, c.Reconnect)
		for _, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
		}
		assert.Equal(t, time.Second, time.Since(p.started))
		assert.Equal(t, lastEventIDs, p.lastEventIDs())
	}
	inBubble(t, "from an open stream", func(t *testing.T) {
		run(t, serve(t, open("id: 1\ndata: 1\n\nid: 2\n\nid: 3\ndata: unfinished\n")), client.Options{}, "[]", "[2]")
	})
	inBubble(t, "from one without an event", func(t *testing.T) {
		run(t, serve(t, open("")), client.Options{}, "[]", "[]")
	})
	inBubble(t, "before the response", func(t *testing.T) {
		run(t, serve(t, silence), client.Options{LastEventID: "0"}, "[0]", "[0]")
	})
	inBubble(t, "while a refusal is read", func(t *testing.T) {
		run(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			open("")(w, r)
		}), client.Options{}, "[]", "[]")
	})
	inBubble(t, "while Prepare waits", func(t *testing.T) {
		prepared := 0
		run(t, serve(t), client.Options{Prepare: func(req *http.Request) error {
			if prepared++; prepared == 1 {
				<-req.Context().Done()
			}
			return req.Context().Err()
		}}, "[]")
		assert.Equal(t, 2, prepared)
	})
}

func TestReconnectEndsAWait(t *testing.T) {
	inBubble(t, "from another goroutine", func(t *testing.T) {
		p := serve(t, status(503, "Retry-After", "60"))
		c := p.client(client.Options{})
		time.AfterFunc(time.Second, c.Reconnect)
		for _, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
		}
		assert.Len(t, p.asked(), 2)
		assert.Equal(t, time.Second, time.Since(p.started))
	})
	inBubble(t, "that OnRetry announces", func(t *testing.T) {
		p := serve(t, status(503, "Retry-After", "60"))
		var c *client.Client
		c = p.client(client.Options{OnRetry: func(error, time.Duration) { c.Reconnect() }})
		for _, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
		}
		assert.Len(t, p.asked(), 2)
		assert.Zero(t, time.Since(p.started))
	})
	inBubble(t, "and the row of waits goes on", func(t *testing.T) {
		p := serve(t, status(503), silence, status(503))
		var waits []time.Duration
		c := p.client(client.Options{OnRetry: func(_ error, d time.Duration) { waits = append(waits, d) }})
		time.AfterFunc(10*time.Second, c.Reconnect)
		for range c.Events(t.Context()) {
		}
		if assert.Len(t, waits, 2) {
			assert.Less(t, waits[0], 2*time.Second)
			assert.GreaterOrEqual(t, waits[1], 2*time.Second)
		}
	})
}

func TestReconnectDropsWhatWasNotHandedOver(t *testing.T) {
	const three = "id: 1\ndata: 1\n\nid: 2\n\nid: 3\ndata: 3\n\n"
	inBubble(t, "called by the consumer, several times", func(t *testing.T) {
		p := serve(t, open(three), open("id: 3\ndata: again\n\n"))
		c := p.client(client.Options{})
		var got []string
		for ev, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
			assert.Equal(t, ev.ID, c.LastEventID())
			got = append(got, ev.ID+" "+ev.Data)
			for range 10 {
				c.Reconnect()
			}
		}
		assert.Equal(t, []string{"1 1", "3 again"}, got)
		assert.Equal(t, []string{"[]", "[1]", "[3]"}, p.lastEventIDs())
	})
	inBubble(t, "called by OnConnect", func(t *testing.T) {
		p := serve(t, open(three), open("data: again\n\n"))
		var c *client.Client
		connects := 0
		c = p.client(client.Options{OnConnect: func(*http.Response) {
			if connects++; connects == 1 {
				c.Reconnect()
			}
		}})
		var got []string
		for ev, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
			got = append(got, ev.ID+" "+ev.Data)
			c.Reconnect()
		}
		assert.Equal(t, []string{" again"}, got)
		assert.Equal(t, []string{"[]", "[]", "[]"}, p.lastEventIDs())
	})
	inBubble(t, "called by OnComment", func(t *testing.T) {
		p := serve(t, open("id: 1\ndata: 1\n\ndata: 2\n: now\ndata: 2\n\n"))
		var c *client.Client
		c = p.client(client.Options{OnComment: func(string) { c.Reconnect() }})
		n := 0
		for range c.Events(t.Context()) {
			n++
		}
		assert.Equal(t, 1, n)
		assert.Equal(t, []string{"[]", "[1]"}, p.lastEventIDs())
	})
}

func TestReconnectDoesNothingWithoutAnIteration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, whole("data: 1\n\n"))
		c := p.client(client.Options{})
		c.Reconnect()
		for range c.Events(t.Context()) {
			break
		}
		c.Reconnect()
		assert.Len(t, p.asked(), 1)
		var got []string
		p.answers = []http.HandlerFunc{whole("data: 2\n\n")}
		for ev, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
			got = append(got, ev.Data)
		}
		assert.Equal(t, []string{"2"}, got)
		c.Reconnect()
		assert.Len(t, p.asked(), 3)
	})
}

// A server that numbers its events and resumes after Last-Event-ID proves that
// no event is lost or repeated, whenever Reconnect and LastEventID are called.
func TestNothingIsLostOrRepeatedHoweverOftenReconnectIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events, goroutines = 5000, 4
		p := serve(t)
		p.answers = make([]http.HandlerFunc, 100_000)
		for i := range p.answers {
			p.answers[i] = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", sse.MediaType)
				n, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
				for r.Context().Err() == nil && n < events {
					for range 1 + rand.N(8) {
						n++
						fmt.Fprintf(w, "id: %d\ndata: %d\n\n", n, n)
					}
					http.NewResponseController(w).Flush()
					time.Sleep(time.Millisecond)
				}
				<-r.Context().Done()
			}
		}
		c := p.client(client.Options{OnRetry: func(err error, _ time.Duration) { t.Error("waits after ", err) }})
		stop := make(chan struct{}) // closed by this goroutine
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				last := 0
				for {
					select {
					case <-stop:
						return
					case <-time.After(rand.N(50 * time.Millisecond)):
					}
					id, _ := strconv.Atoi(c.LastEventID())
					if id < last {
						t.Errorf("LastEventID went back from %d to %d", last, id)
					}
					last = id
					c.Reconnect()
				}
			})
		}
		n := 0
		for ev, err := range c.Events(t.Context()) {
			n++
			if err != nil || ev.Data != strconv.Itoa(n) {
				t.Errorf("want event %d, got %+v, %v", n, ev, err)
				break
			}
			if n == events {
				break
			}
		}
		close(stop)
		wg.Wait()
		assert.Greater(t, len(p.asked()), 20)
	})
}

func TestASecondIterationAtTheSameTimeYieldsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, open("data: 1\n\n"))
		c := p.client(client.Options{})
		for range c.Events(t.Context()) {
			var got []error
			for _, err := range c.Events(t.Context()) {
				got = append(got, err)
			}
			if assert.Len(t, got, 1) {
				assert.EqualError(t, got[0], "client: Events is already being ranged over")
			}
			c.Reconnect() // the first goes on, and ends by 204
		}
		assert.Len(t, p.asked(), 2)
	})
}

func TestEventsGoesOnWhereItWasLeft(t *testing.T) {
	const two = "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"
	inBubble(t, "by the loop", func(t *testing.T) {
		left := make(chan struct{}) // closed by the handler
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			open(two)(w, r)
			close(left)
		}, whole("id: 2\ndata: 2 again\n\n"))
		c := p.client(client.Options{})
		for range c.Events(t.Context()) {
			break
		}
		<-left // the connection is closed
		assert.Equal(t, "1", c.LastEventID())
		var got []string
		for ev, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
			got = append(got, ev.Data)
		}
		assert.Equal(t, []string{"2 again"}, got)
		assert.Equal(t, []string{"[]", "[1]", "[2]"}, p.lastEventIDs())
	})
	inBubble(t, "by a panic", func(t *testing.T) {
		p := serve(t, open(two))
		c := p.client(client.Options{})
		assert.Panics(t, func() {
			for range c.Events(t.Context()) {
				panic("consumer")
			}
		})
		for _, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
		}
		assert.Equal(t, []string{"[]", "[1]"}, p.lastEventIDs())
	})
	inBubble(t, "by an error, even inside the loop", func(t *testing.T) {
		p := serve(t, whole("id: 1\ndata: 1\n\n"), status(404))
		c := p.client(client.Options{})
		for _, err := range c.Events(t.Context()) {
			if err != nil {
				for _, err := range c.Events(t.Context()) {
					assert.NoError(t, err)
				}
			}
		}
		assert.Equal(t, []string{"[]", "[1]", "[1]"}, p.lastEventIDs())
	})
}

func TestLastEventIDIsKnownWhileTheStreamIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, open("id: 1\ndata: 1\n\nid: 2\n\nid: 3\ndata: unfinished\n"))
		c := p.client(client.Options{LastEventID: "0"})
		assert.Equal(t, "0", c.LastEventID())
		time.AfterFunc(time.Second, func() {
			assert.Equal(t, "2", c.LastEventID())
			c.Reconnect()
		})
		for range c.Events(t.Context()) {
			assert.Equal(t, "1", c.LastEventID())
		}
		assert.Equal(t, "2", c.LastEventID())
	})
}

func TestACommentIsTakenBeforeItsEventIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			whole("data: 1\n: inside\n")(w, r)
			http.NewResponseController(w).Flush()
			time.Sleep(time.Second)
			io.WriteString(w, "data: 2\n\n")
		})
		var log []string
		say := func(what string) { log = append(log, fmt.Sprint(time.Since(p.started), " ", what)) }
		for ev := range p.client(client.Options{OnComment: say}).Events(t.Context()) {
			say(ev.Data)
		}
		assert.Equal(t, []string{"0s inside", "1s 1\n2"}, log)
	})
}

func TestOnConnectGetsTheResponseWithoutItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, status(302, "Location", "/moved"), whole("data: 1\n\n"))
		var got []string
		opts := client.Options{OnConnect: func(resp *http.Response) {
			body, err := io.ReadAll(resp.Body)
			assert.NoError(t, err)
			got = append(got, fmt.Sprint(resp.Request.URL.Path, " ", resp.Header.Get("Content-Type"), " ", len(body)))
			resp.Body.Close()
		}}
		for ev, err := range p.client(opts).Events(t.Context()) {
			assert.NoError(t, err)
			got = append(got, ev.Data)
		}
		assert.Equal(t, []string{"/moved text/event-stream 0", "1"}, got)
	})
}
