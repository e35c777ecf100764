package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// floor is what the kernel and the memory cost, without any library.
var floor = contestant{
	name:   "floor",
	floor:  true,
	serve:  floorServer,
	parse:  floorParse,
	encode: floorEncode,
	read:   floorRead,
}

// floorServer hijacks the connections and lets the publishing goroutine write
// the prebuilt bytes to each socket in turn, in one write per burst.
func floorServer(history bool) server {
	var (
		mu     sync.Mutex // guards conns and past
		conns  []net.Conn
		past   []byte // all events but the first, encoded
		events int
	)
	const header = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
	handler := func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if _, err := io.WriteString(conn, header); err != nil {
			return
		}
		mu.Lock()
		replay := past
		conns = append(conns, conn)
		mu.Unlock()
		if r.Header.Get("Last-Event-ID") != "" {
			_, _ = conn.Write(replay) // the load generator sees what is missing
		}
	}
	var burst []byte
	publish := func(data []string) error {
		burst = burst[:0]
		for _, d := range data {
			burst = appendData(burst, d)
		}
		mu.Lock()
		defer mu.Unlock()
		if history {
			for _, d := range data {
				if events++; events > 1 {
					past = appendData(past, d)
				}
			}
		}
		for _, conn := range conns {
			if _, err := conn.Write(burst); err != nil {
				return err
			}
		}
		return nil
	}
	return server{handler: http.HandlerFunc(handler), publish: publish, cursor: func() string { return "1" }}
}

func appendData(b []byte, data string) []byte {
	b = append(b, "data: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

// floorParse finds the line ends and copies each line once. It looks at
// nothing else: a blank line is an event.
func floorParse(stream []byte) (tally, error) {
	var t tally
	line := make([]byte, 64<<10)
	for len(stream) > 0 {
		end := bytes.IndexByte(stream, '\n')
		if end < 0 {
			return t, io.ErrUnexpectedEOF
		}
		n := copy(line, stream[:end])
		if n == 0 || n == 1 && line[0] == '\r' {
			t.events++
		}
		stream = stream[end+1:]
	}
	return t, nil
}

// floorEncode copies the bytes of the encoded event.
func floorEncode(data string, n int) (int, error) {
	encoded := appendData(nil, data)
	b := make([]byte, 0, len(encoded))
	total := 0
	for range n {
		b = append(b[:0], encoded...)
		total += len(b)
	}
	return total, nil
}

// floorRead only reads the bytes of the response. That they are all there is
// for HTTP to see.
func floorRead(ctx context.Context, url string, want tally) (tally, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return tally{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return tally{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return tally{}, fmt.Errorf("the server answered %s", resp.Status)
	}
	for buf := make([]byte, 64<<10); ; {
		_, err := resp.Body.Read(buf)
		if errors.Is(err, io.EOF) {
			return want, nil
		}
		if err != nil {
			return tally{}, err
		}
	}
}
