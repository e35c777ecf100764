// Command llm streams answers as the APIs of language models do: a request is
// posted, and its response is a stream with an event for each token. The model
// is a toy, and needs no network.
//
//	go run ./examples/llm
//	go run ./examples/llm/client 'why is the sky blue?'
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssejson"
)

// grace is how long a server that ends lets answers go on.
const grace = 3 * time.Second

//go:embed index.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on; with port 0, on a free port")
	pace := flag.Duration("pace", 40*time.Millisecond, "`time` from one token to the next")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the server cleanly, a second one kills it
	if err := run(ctx, *addr, *pace, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "llm:", err)
		os.Exit(1)
	}
}

// run answers until ctx ends.
func run(ctx context.Context, addr string, pace time.Duration, stdout io.Writer) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           routes(toy(pace), log.New(stdout, "", 0)),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // for the question, not for the answer
		WriteTimeout:      10 * time.Second, // streams have a timeout for each write instead
		IdleTimeout:       time.Minute,
	}
	fmt.Fprintf(stdout, "Answering at http://%s/. Ctrl-C ends it.\n", ln.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()

	select {
	case <-ctx.Done():
	case err := <-served:
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		server.Close() // answers that take longer end in the middle, and their clients see that
	}
	return nil
}

// routes serves the page at /, and answers where such APIs do.
func routes(generate model, journal *log.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/chat/completions", answer(generate, journal))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		// The page is one file, and talks to this server alone.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
			"script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Write(page)
	})
	// No other site's page may spend what answers cost.
	return http.NewCrossOriginProtection().Handler(mux)
}

// question is what is posted, as far as the toy is interested.
type question struct {
	Messages []struct{ Content string } `json:"messages"`
}

// chunk is the data of an event: the next part of the answer.
type chunk struct {
	Choices []choice `json:"choices"`
}

type choice struct {
	Delta        delta   `json:"delta"`
	FinishReason *string `json:"finish_reason"` // null until the end
}

type delta struct {
	Content string `json:"content,omitempty"`
}

// failure is the data of the last event if there is no more of the answer. Why
// is not for the client to know.
const failure = `{"error":{"message":"the model failed"}}`

// answer streams the answer to a question, and then [DONE], without which a
// client cannot know that it has all of it. When the client goes, r's context
// ends and with it the generator: nobody pays for tokens that nobody reads.
func answer(generate model, journal *log.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q question
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&q)
		if err != nil || len(q.Messages) == 0 {
			http.Error(w, "a question is JSON with messages", http.StatusBadRequest)
			return
		}
		stream, err := sse.NewWriter(w, r, nil)
		if err != nil {
			http.Error(w, "streaming is not possible here", http.StatusInternalServerError)
			return
		}
		defer stream.Close()
		sent := 0
		var failed error
		for token, err := range generate(r.Context(), q.Messages[len(q.Messages)-1].Content) {
			if err != nil {
				failed = err
				break
			}
			if send(stream, choice{Delta: delta{token}}) != nil {
				break // the client is gone
			}
			sent++
		}
		if err := r.Context().Err(); err != nil {
			journal.Printf("The client left after %d tokens.", sent)
			return
		}
		if failed != nil {
			journal.Printf("The model failed after %d tokens: %v", sent, failed)
			_ = stream.Send(sse.Event{Data: failure}) // or the client is gone
			return
		}
		stop := "stop"
		if send(stream, choice{FinishReason: &stop}) == nil && stream.Send(sse.Event{Data: "[DONE]"}) == nil {
			journal.Printf("Answered with %d tokens.", sent)
		}
	}
}

// send sends one chunk.
func send(stream *sse.Writer, c choice) error {
	ev, err := ssejson.Event(chunk{[]choice{c}})
	if err != nil {
		return err
	}
	return stream.Send(ev)
}
