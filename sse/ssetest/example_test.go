package ssetest_test

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// countdown is the handler of these examples: it sends the numbers before
// Last-Event-ID.
func countdown(w http.ResponseWriter, r *http.Request) {
	stream, err := sse.NewWriter(w, r, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	n := 4
	fmt.Sscan(stream.LastEventID(), &n)
	for n--; n > 0; n-- {
		if stream.Send(sse.Event{ID: fmt.Sprint(n), Data: fmt.Sprint(n, " to go")}) != nil {
			return
		}
	}
}

// A handler is tested without a network; in a test the first argument is t.
func ExampleRecord() {
	rec := ssetest.Record(nil, http.HandlerFunc(countdown), ssetest.NewRequest("/", "3"))
	defer rec.Close()
	fmt.Println(rec.Code(), rec.Header().Get("Content-Type"))
	for ev, err := range rec.Events() {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(ev.ID, ev.Data)
	}
	// Output:
	// 200 text/event-stream
	// 2 2 to go
	// 1 1 to go
}

// Next waits for one event; the handler runs until the client goes.
func ExampleRecorder_Next() {
	rec := ssetest.Record(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream, _ := sse.NewWriter(w, r, nil)
		stream.Send(sse.Event{Type: "hello", Data: r.URL.Query().Get("name")})
		<-r.Context().Done()
	}), ssetest.NewRequest("/?name=Ada", ""))
	ev, err := rec.Next()
	fmt.Println(ev.Type, ev.Data, err)
	rec.Close()
	_, err = rec.Next()
	fmt.Println(err)
	// Output:
	// hello Ada <nil>
	// EOF
}

// A real server and a real client, over HTTP/2 with TLS, and no socket.
func ExampleServe() {
	srv := ssetest.Serve(nil, http.HandlerFunc(countdown), &ssetest.ServerOptions{Protocol: ssetest.HTTP2})
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(srv.URL, res.Proto)
	for ev, err := range sse.Events(res.Body) {
		fmt.Println(ev.Data, err)
	}
	// Output:
	// https://sse.test:8080 HTTP/2.0
	// 3 to go <nil>
	// 2 to go <nil>
	// 1 to go <nil>
}

// What listens and what dials meet in memory.
func ExampleNetwork() {
	network := ssetest.NewNetwork(nil)
	l, err := network.Listen("example.com:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &http.Server{Handler: http.HandlerFunc(countdown)}
	var serving sync.WaitGroup
	serving.Go(func() { srv.Serve(l) })
	defer serving.Wait()
	defer srv.Close()

	client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext}}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	_, err = client.Get("http://example.org")
	fmt.Println(err)
	// Output:
	// 200 OK
	// Get "http://example.org": dial mem example.org:80: connect: connection refused
}

// A connection alone: it has a buffer, so one goroutine can use both ends.
func ExamplePipe() {
	near, far := ssetest.Pipe(0)
	defer far.Close()
	fmt.Fprint(near, "data: one\n\ndata: tw")
	near.Close()
	for ev, err := range sse.Events(far) {
		fmt.Println(ev.Data, err)
	}
	// Output:
	// one <nil>
	//  unexpected EOF
}

// A client is tested against a server that fails as the script says.
func ExampleScript() {
	script := ssetest.NewScript(
		ssetest.Reply{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}},
		ssetest.Reply{Body: ssetest.Chunks("id: 1\nda", "ta: one\n\n", "data: tw"), End: ssetest.Cut},
	)
	srv := ssetest.Serve(nil, script, nil)
	defer srv.Close()

	lastEventID := ""
	for { // the client under test
		req, _ := http.NewRequest(http.MethodGet, srv.URL, nil)
		if lastEventID != "" {
			req.Header.Set("Last-Event-ID", lastEventID)
		}
		res, err := srv.Client().Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(res.StatusCode)
		if res.StatusCode == http.StatusOK {
			for ev, err := range sse.Events(res.Body) {
				if err == nil {
					lastEventID = ev.ID
				}
				fmt.Println(ev.Data, err)
			}
		}
		res.Body.Close()
		if res.StatusCode == http.StatusNoContent {
			break
		}
	}
	for _, r := range script.Requests() {
		fmt.Printf("%s %s %q\n", r.Method, r.URL, r.LastEventID())
	}
	// Output:
	// 503
	// 200
	// one <nil>
	//  unexpected EOF
	// 204
	// GET / ""
	// GET / ""
	// GET / "1"
}

// A client's connections are cut after at most 500 bytes, but it resumes.
func ExampleFaults() {
	srv := ssetest.Serve(nil, http.HandlerFunc(countdown), nil)
	defer srv.Close()
	faults := ssetest.NewFaults(nil, &ssetest.FaultOptions{
		Seed:     1,
		Kinds:    []ssetest.Fault{ssetest.FaultCut},
		MaxBytes: 500,
	})
	defer faults.Close()

	transport := srv.NewTransport()
	transport.DialContext = faults.Dialer(transport.DialContext)
	for n := 100; n > 1; {
		req := ssetest.NewRequest(srv.URL, fmt.Sprint(n))
		res, err := transport.RoundTrip(req)
		if err != nil {
			continue // cut in the header
		}
		for ev, err := range sse.Events(res.Body) {
			if err == nil {
				fmt.Sscan(ev.ID, &n)
			}
		}
		res.Body.Close()
	}
	fmt.Println("all there, with faults:", faults.Count(ssetest.FaultCut) > 0)
	// Output:
	// all there, with faults: true
}

// Or the connections of a server break, whoever its clients are: those that its
// listener accepts.
func ExampleFaults_Listener() {
	network := ssetest.NewNetwork(nil)
	faults := ssetest.NewFaults(nil, &ssetest.FaultOptions{Kinds: []ssetest.Fault{}})
	defer faults.Close()
	l, err := network.Listen("sse.test:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := ssetest.Serve(nil, http.HandlerFunc(countdown), &ssetest.ServerOptions{Listener: faults.Listener(l), Network: network})
	defer srv.Close()
	res, err := srv.Client().Get("http://sse.test")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status, "over", faults.Connections(), "connection")
	// Output:
	// 200 OK over 1 connection
}

// What a seed does to a connection can be looked up.
func ExampleFaults_Plan() {
	faults := ssetest.NewFaults(nil, &ssetest.FaultOptions{Seed: 7})
	for i := range faults.Plan(1) {
		fmt.Println(i.Fault, "at byte", i.At)
	}
	// Output:
	// trickle at byte 13151
	// reset at byte 16922
}

// A proxy sits between a client and a server that know nothing of it.
func ExampleFaults_Proxy() {
	srv := ssetest.Serve(nil, http.HandlerFunc(countdown), nil)
	defer srv.Close()
	faults := ssetest.NewFaults(nil, &ssetest.FaultOptions{Kinds: []ssetest.Fault{ssetest.FaultGarbage}})
	defer faults.Close()
	proxy := faults.Proxy("sse.test:8080", &ssetest.ProxyOptions{Network: srv.Network})

	_, err := srv.Client().Get("http://" + proxy.Addr)
	fmt.Println(err != nil, faults.Count(ssetest.FaultGarbage))
	// Output:
	// true 1
}

// Connections are cut when the test says so.
func ExampleFaults_CutAll() {
	faults := ssetest.NewFaults(nil, &ssetest.FaultOptions{Kinds: []ssetest.Fault{}})
	defer faults.Close()
	near, far := ssetest.Pipe(0)
	defer far.Close()
	client := faults.Conn(near)
	defer client.Close()
	fmt.Println("cut:", faults.CutAll())
	_, err := client.Read(make([]byte, 1))
	fmt.Println(err)
	// Output:
	// cut: 1
	// EOF
}
