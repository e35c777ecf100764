package fanfare_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssejson"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// Who may follow what is Options.Topics' to say. Browsers send cookies along
// with an EventSource's requests, every reconnect included, so a page has
// nothing to do.
func Example_authorizeByCookie() {
	users := map[string]string{"3f9c": "ada"} // your logins: random value of the cookie → user
	b := broker.New(&broker.Options{
		Topics: func(r *http.Request) ([]string, error) {
			cookie, err := r.Cookie("login")
			if err != nil {
				return nil, &broker.StatusError{Code: http.StatusUnauthorized, Err: err}
			}
			user, ok := users[cookie.Value]
			if !ok {
				return nil, &broker.StatusError{Code: http.StatusUnauthorized}
			}
			return []string{"user/" + user, "news"}, nil
		},
	})
	defer b.Close()

	r := ssetest.NewRequest("/events", "")
	fmt.Println(try(b, r))
	r.AddCookie(&http.Cookie{Name: "login", Value: "3f9c"})
	fmt.Println(try(b, r))
	// Output:
	// 401
	// 200
}

// A token comes in the header Authorization, which the Go client can send:
// Options.Prepare sets a fresh one for every attempt. EventSource cannot set
// headers. A page has a cookie, or asks for a ticket that opens one stream and
// stands in the address, where a log may keep it, but of no use to who reads it.
func Example_authorizeByToken() {
	valid := func(token string) bool { return token == "secret" } // your check
	var tickets sync.Map
	b := broker.New(&broker.Options{
		Topics: func(r *http.Request) ([]string, error) {
			token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			ticket, _ := r.Context().Value(ticketKey{}).(bool)
			if !ticket && !(bearer && valid(token)) {
				return nil, &broker.StatusError{Code: http.StatusUnauthorized}
			}
			return []string{"news"}, nil
		},
		Backlog: 1,
	})
	defer b.Close()
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, ticket := tickets.LoadAndDelete(r.URL.Query().Get("ticket"))
		b.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ticketKey{}, ticket)))
	})
	b.Publish(context.Background(), sse.Event{Data: "hello"}, "news")
	server := httptest.NewServer(events)
	defer server.Close()
	defer b.Close()

	c := client.New(server.URL, &client.Options{
		Prepare: func(r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+"secret")
			return nil
		},
	})
	for ev, err := range c.Events(context.Background()) {
		fmt.Println(ev.Data, err)
		break
	}

	// What a handler for pages that have logged in answers.
	ticket := rand.Text()
	tickets.Store(ticket, true)
	time.AfterFunc(time.Minute, func() { tickets.Delete(ticket) }) // nobody came with it
	fmt.Println(try(events, ssetest.NewRequest("/events?ticket="+ticket, "")))
	fmt.Println(try(events, ssetest.NewRequest("/events?ticket="+ticket, "")))
	r := ssetest.NewRequest("/events", "")
	r.Header.Set("Authorization", "secret") // no Bearer
	fmt.Println(try(events, r))
	// Output:
	// hello <nil>
	// 200
	// 401
	// 401
}

type ticketKey struct{}

// A page of another origin needs the stream's permission, and by name if it
// sends cookies: new EventSource(url, {withCredentials: true}).
func Example_cors() {
	b := broker.New(nil)
	defer b.Close()
	origins := []string{"https://app.example.com"}
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); slices.Contains(origins, origin) {
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
		}
		if r.Method == http.MethodOptions { // asked by libraries that use fetch, not by EventSource
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Cache-Control, Last-Event-ID")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		b.ServeHTTP(w, r)
	})
	mux := http.NewServeMux()
	mux.Handle("/events", events) // without "GET", for OPTIONS has to get there

	r := ssetest.NewRequest("/events", "")
	r.Header.Set("Origin", "https://app.example.com")
	rec := ssetest.Record(nil, mux, r)
	defer rec.Close()
	fmt.Println(rec.Code(), rec.Header().Get("Access-Control-Allow-Origin"), rec.Header().Get("Access-Control-Allow-Credentials"))

	r.Header.Set("Origin", "https://elsewhere.example.com")
	other := ssetest.Record(nil, mux, r)
	defer other.Close()
	fmt.Printf("%d %q\n", other.Code(), other.Header().Get("Access-Control-Allow-Origin"))

	r.Method = http.MethodOptions
	fmt.Println(try(mux, r))
	// Output:
	// 200 https://app.example.com true
	// 200 ""
	// 204
}

// First the listeners close, so that nobody comes back to a server that ends.
// Then the broker sends everybody what they are owed and ends their streams,
// which http.Server.Shutdown waits for.
func Example_shutdown() {
	b := broker.New(nil)
	server := &http.Server{
		Handler:           b,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // of a request with its body; streams are exempt
		WriteTimeout:      10 * time.Second, // streams have one for each write instead
		IdleTimeout:       time.Minute,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: 10 * time.Second},
	}
	shutdown := func(ctx context.Context) error {
		ended := make(chan error, 1)
		server.RegisterOnShutdown(func() { ended <- b.Shutdown(ctx) })
		if err := server.Shutdown(ctx); err != nil {
			server.Close() // for instance a connection that a browser has opened in advance, and never used
		}
		return <-ended
	}

	network := ssetest.NewNetwork(nil)
	listener, err := network.Listen("example.com:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)
	transport := &http.Transport{DialContext: network.DialContext}
	resp, err := transport.RoundTrip(ssetest.NewRequest("http://example.com", ""))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	b.Publish(context.Background(), sse.Event{Data: "the last event"})

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println("shutdown:", shutdown(ctx))
	stream := sse.NewDecoder(resp.Body)
	for ev, err := range stream.Events() {
		fmt.Println(ev.Data, err)
	}
	fmt.Println("come back in a second or more:", stream.Retry() >= time.Second)
	// Output:
	// shutdown: <nil>
	// the last event <nil>
	// come back in a second or more: true
}

// A handler is tested without a network: the recorder sees each event when it
// is flushed, and goes when the test does. In a test, nil is t.
func Example_testing() {
	rec := ssetest.Record(nil, http.HandlerFunc(tokens), ssetest.NewRequest("/tokens", ""))
	defer rec.Close()
	fmt.Println(rec.Code(), rec.Header().Get("Content-Type"))
	first, err := rec.Next()
	fmt.Printf("%q %v\n", first.Data, err)
	for ev, err := range rec.Events() { // the rest
		fmt.Printf("%q %v\n", ev.Data, err)
	}
	fmt.Println(rec.Wait())
	// Output:
	// 200 text/event-stream
	// "Hello" <nil>
	// " " <nil>
	// "world" <nil>
	// <nil>
}

// Each user follows a topic of their own, behind the login that the rest of the
// site has. What comes while they are away waits for them.
func Example_notifications() {
	type notification struct {
		Text string `json:"text"`
	}
	b := broker.New(&broker.Options{
		Topics:  func(r *http.Request) ([]string, error) { return []string{"user/" + userOf(r)}, nil },
		Backlog: 20, // a new tab shows the latest
	})
	defer b.Close()
	notify := func(ctx context.Context, user, text string) error {
		_, err := ssejson.Publish(ctx, b, notification{text}, "user/"+user)
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /notifications", loggedIn(b))

	for user, text := range map[string]string{"ada": "Your build has passed.", "bob": "Your invoice is here."} {
		if err := notify(context.Background(), user, text); err != nil {
			fmt.Println(err)
		}
	}
	r := ssetest.NewRequest("/notifications", "")
	fmt.Println(try(mux, r))
	r.AddCookie(&http.Cookie{Name: "user", Value: "ada"})
	rec := ssetest.Record(nil, mux, r)
	defer rec.Close()
	for n, err := range ssejson.Values[notification](rec.Events()) {
		fmt.Println(n.Text, err)
		break
	}
	// Output:
	// 401
	// Your build has passed. <nil>
}

// part is a few words of an answer.
type part struct {
	Text string `json:"text"`
}

// answer streams what a model generates. It stops with the client: r's context
// ends, and with it the model, so that nobody pays for what nobody reads.
func answer(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	question := r.FormValue("question") // first: a stream that has begun is no time to read the body
	stream, err := sse.NewWriter(w, r, nil)
	if err != nil {
		http.Error(w, "streaming is not possible here", http.StatusInternalServerError)
		return
	}
	defer stream.Close()
	for token, err := range generate(r.Context(), question) {
		if err != nil {
			return // without [DONE], so that nobody takes this for all
		}
		ev, err := ssejson.Event(part{Text: token})
		if err != nil || stream.Send(ev) != nil {
			return // the client is gone
		}
	}
	if r.Context().Err() == nil {
		stream.Send(sse.Event{Data: "[DONE]"})
	}
}

// read writes an answer to out. A connection can be cut in a way that looks
// like an end: the answer is whole once [DONE] has come.
func read(stream io.Reader, out io.Writer) error {
	for ev, err := range sse.Events(stream) {
		if err != nil {
			return err
		}
		if ev.Data == "[DONE]" {
			return nil
		}
		p, err := ssejson.Value[part](ev)
		if err != nil {
			return err
		}
		fmt.Fprint(out, p.Text)
	}
	return errors.New("the answer was cut off")
}

// generate stands for a model, which fails at questions that are none.
func generate(ctx context.Context, question string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, token := range []string{question, "\n", "Because ", "of ", "Rayleigh ", "scattering.\n"} {
			if !yield(token, nil) {
				return
			}
			if !strings.HasSuffix(question, "?") {
				yield("", errors.New("the model has failed"))
				return
			}
		}
	}
}

// answerSlowly is answer for a model that thinks for longer than a proxy waits.
// SendAll sends heartbeats meanwhile; in return, somebody else fills its channel.
func answerSlowly(w http.ResponseWriter, r *http.Request) {
	question := r.FormValue("question")
	stream, err := sse.NewWriter(w, r, nil)
	if err != nil {
		http.Error(w, "streaming is not possible here", http.StatusInternalServerError)
		return
	}
	defer stream.Close()
	events := make(chan sse.Event)
	var failure error // set before events is closed
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel() // the model stops when the client is gone
	go func() {
		defer close(events)
		for token, err := range generate(ctx, question) {
			if err != nil {
				failure = err
				return
			}
			select {
			case events <- sse.Event{Data: token}:
			case <-ctx.Done():
				return
			}
		}
	}()
	if err := stream.SendAll(ctx, events); err != nil || failure != nil {
		return // the client is gone, or the model has failed
	}
	stream.Send(sse.Event{Data: "[DONE]"})
}

func Example_answerSlowly() {
	for _, question := range []string{"Why is the sky blue?", "Because."} {
		form := strings.NewReader(url.Values{"question": {question}}.Encode())
		r := httptest.NewRequest("POST", "/", form)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := ssetest.Record(nil, http.HandlerFunc(answerSlowly), r)
		last := ""
		for ev, err := range rec.Events() {
			if err == nil {
				last = ev.Data
			}
		}
		fmt.Printf("%q\n", last)
		rec.Close()
	}
	// Output:
	// "[DONE]"
	// "Because."
}

// An answer of a language model, written and read.
func Example_answer() {
	server := httptest.NewServer(http.HandlerFunc(answer))
	defer server.Close()
	resp, err := http.PostForm(server.URL, url.Values{"question": {"Why is the sky blue?"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	var whole strings.Builder
	fmt.Println(read(io.TeeReader(resp.Body, &whole), os.Stdout))

	cut, _, _ := strings.Cut(whole.String(), "data: [DONE]")
	fmt.Println(read(strings.NewReader(cut), io.Discard))
	// Output:
	// Why is the sky blue?
	// Because of Rayleigh scattering.
	// <nil>
	// the answer was cut off
}

// A relay is one client of another server, whose events it publishes to any number
// of its own.
func Example_relay() {
	other := broker.New(&broker.Options{Backlog: -1})
	defer other.Close()
	server := httptest.NewServer(other)
	defer server.Close()
	defer other.Close()
	url := server.URL

	b := broker.New(&broker.Options{Backlog: -1})
	defer b.Close()
	upstream := client.New(url, &client.Options{IdleTimeout: 45 * time.Second}) // its heartbeats come every 15 s
	relay := func(ctx context.Context) error {
		for ev, err := range upstream.Events(ctx) {
			if err != nil {
				return err
			}
			ev.ID, ev.Retry = "", 0 // for your subscribers the broker has its own
			if _, err := b.Publish(ctx, ev); err != nil {
				return err
			}
		}
		return nil // the other server says that it is over
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	relayed := make(chan error)
	go func() { relayed <- relay(ctx) }()
	for _, data := range []string{"one", "two"} {
		other.Publish(ctx, sse.Event{Data: data})
	}
	rec := ssetest.Record(nil, b, ssetest.NewRequest("/events", ""))
	defer rec.Close()
	for range 2 {
		ev, err := rec.Next()
		fmt.Println(ev.Data, err)
	}
	cancel()
	fmt.Println(<-relayed)
	// Output:
	// one <nil>
	// two <nil>
	// context canceled
}

// A page that shows the state of something gets all of it first, and then what
// changes. After a restart of the server, whose history begins anew, it gets all
// of the state again, after a gap event if it has an ID from before.
func Example_dashboard() {
	type reading struct {
		Sensor string  `json:"sensor"`
		Value  float64 `json:"value"`
	}
	var mu sync.Mutex // guards the state, and keeps events in the order of its changes
	state := map[string]reading{}
	b := broker.New(&broker.Options{
		Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
			mu.Lock()
			defer mu.Unlock()
			events := []sse.Event{{Type: "clear"}} // for pages that show an older state
			for _, m := range state {
				ev, err := ssejson.Event(m)
				if err != nil {
					return nil, err
				}
				events = append(events, ev)
			}
			return events, nil
		},
	})
	defer b.Close()
	set := func(ctx context.Context, m reading) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := ssejson.Publish(ctx, b, m); err != nil {
			return err
		}
		state[m.Sensor] = m
		return nil
	}

	ctx := context.Background()
	for _, m := range []reading{{"roof", 20}, {"roof", 21}} {
		if err := set(ctx, m); err != nil {
			fmt.Println(err)
		}
	}
	page := ssetest.Record(nil, b, ssetest.NewRequest("/events", ""))
	defer page.Close()
	restarted := ssetest.Record(nil, b, ssetest.NewRequest("/events", "an ID of the server before"))
	defer restarted.Close()
	for _, rec := range []*ssetest.Recorder{page, restarted} {
		for ev, err := range rec.Events() {
			fmt.Printf("%s%s %v\n", ev.Type, ev.Data, err)
			if ev.Type == "" {
				break
			}
		}
	}
	if err := set(ctx, reading{"roof", 22}); err != nil {
		fmt.Println(err)
	}
	ev, err := page.Next()
	fmt.Println(ev.Data, err)
	// Output:
	// clear <nil>
	// {"sensor":"roof","value":21} <nil>
	// gap <nil>
	// clear <nil>
	// {"sensor":"roof","value":21} <nil>
	// {"sensor":"roof","value":22} <nil>
}

// Whoever logs out is not to see more. Options.MaxAge ends every stream at some
// time, so that Options.Topics is asked again.
func Example_logout() {
	b := broker.New(&broker.Options{
		Topics: func(r *http.Request) ([]string, error) { return []string{"user/" + r.PathValue("user")}, nil },
		MaxAge: time.Hour,
	})
	defer b.Close()
	logout := func(user string) int {
		return b.End(func(s broker.Subscriber) bool { return slices.Contains(s.Topics, "user/"+user) })
	}

	mux := http.NewServeMux()
	mux.Handle("GET /events/{user}", b)
	rec := ssetest.Record(nil, mux, ssetest.NewRequest("/events/ada", ""))
	defer rec.Close()
	fmt.Println(rec.Code(), logout("bob"), logout("ada"))
	_, err := rec.Next()
	fmt.Println(err)
	// Output:
	// 200 0 1
	// EOF
}

type userKey struct{}

// loggedIn stands for the login of a site, which surely does better: it lets
// users through, and puts who they are into the request's context.
func loggedIn(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("user")
		if err != nil {
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, cookie.Value)))
	})
}

// userOf returns the user that loggedIn has let through.
func userOf(r *http.Request) string { return r.Context().Value(userKey{}).(string) }

// try returns the status that h answers r with.
func try(h http.Handler, r *http.Request) int {
	rec := ssetest.Record(nil, h, r)
	defer rec.Close()
	return rec.Code()
}
