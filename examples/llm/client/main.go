// Command client asks a language model, and prints the answer while it is being
// made. It speaks to examples/llm, and to whatever else streams answers in the
// format of OpenAI's chat completions.
//
//	go run ./examples/llm/client 'why is the sky blue?'
//	API_KEY=… go run ./examples/llm/client -url https://…/v1/chat/completions -model … 'why is the sky blue?'
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssejson"
)

// patience is how long a server may take to begin an answer.
const patience = time.Minute

// errTruncated is the error of an answer that is not all there.
var errTruncated = errors.New("the answer was cut off")

func main() {
	url := flag.String("url", "http://localhost:8080/v1/chat/completions", "`URL` of the model")
	model := flag.String("model", "toy", "`name` of the model")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "client: ask something")
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := ask(ctx, transport(patience), *url, os.Getenv("API_KEY"), *model, strings.Join(flag.Args(), " "), os.Stdout)
	fmt.Println()
	if err != nil { // a signal leaves half an answer as well
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// ask asks, and writes the answer to out, token by token. Answers are not asked
// for again when they break, for each costs: so this is no case for package
// client, but for a plain request and [sse.Events].
func ask(ctx context.Context, via http.RoundTripper, url, key, model, prompt string, out io.Writer) error {
	body, err := json.Marshal(map[string]any{
		"model":    model,
		"messages": []map[string]string{{"role": "user", "content": prompt}},
		"stream":   true,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", sse.MediaType)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := (&http.Client{Transport: via}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	wrong := ""
	switch {
	case resp.StatusCode != http.StatusOK:
		wrong = resp.Status
	case kind != sse.MediaType: // some send their errors with a 200
		wrong = fmt.Sprintf("no stream, but %q", kind)
	}
	if wrong != "" {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("%s: %s", wrong, bytes.TrimSpace(why))
	}
	return read(resp.Body, out)
}

// transport returns what questions are sent with. Answers may take as long as
// they like, but have to begin.
func transport(patience time.Duration) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = patience
	return t
}

// chunk is the next part of an answer, or says why there is none.
type chunk struct {
	Choices []struct {
		Delta        struct{ Content string }
		FinishReason string `json:"finish_reason"`
	}
	Error *struct{ Message string }
}

// read writes the answer in stream to out. It has all of it once [DONE] has
// come. A stream that ends without, in order or not, was cut off: the error
// then wraps errTruncated, and what broke, such as io.ErrUnexpectedEOF.
func read(stream io.Reader, out io.Writer) error {
	limited := false
	for ev, err := range sse.Events(stream) {
		if err != nil {
			return fmt.Errorf("%w: %w", errTruncated, err)
		}
		if ev.Data == "[DONE]" {
			if limited {
				return fmt.Errorf("%w: it is as long as the model may make it", errTruncated)
			}
			return nil
		}
		part, err := ssejson.Value[chunk](ev)
		if err != nil {
			return err
		}
		if part.Error != nil {
			return fmt.Errorf("the server says: %s", part.Error.Message)
		}
		for _, choice := range part.Choices {
			if _, err := io.WriteString(out, choice.Delta.Content); err != nil {
				return err
			}
			limited = limited || choice.FinishReason == "length"
		}
	}
	return fmt.Errorf("%w: it ended without [DONE]", errTruncated)
}
