package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// childEnv is set in the processes that this program starts from its own
// executable: "contestant,event size,history".
const childEnv = "FANFARE_COMPARE_SERVE"

const (
	streamName   = "events"  // what the peers call a stream or channel
	maxHistory   = 100_000   // events that a contestant with history must hold
	streamerName = "streams" // instead of a contestant's name: the server that the clients read from
)

// child runs this process as a server if it was started as one, and reports
// whether it was. It ends when its standard input does, so it never survives
// the load generator.
func child() (bool, error) {
	as, ok := os.LookupEnv(childEnv)
	if !ok {
		return false, nil
	}
	kind := strings.Split(as, ",")
	if len(kind) != 3 {
		return true, fmt.Errorf("compare: malformed %s %q", childEnv, as)
	}
	size, err := strconv.Atoi(kind[1])
	if err != nil {
		return true, err
	}
	if kind[0] == streamerName {
		return true, serve(server{handler: http.HandlerFunc(serveStream)}, size)
	}
	c, err := byName(kind[0])
	if err != nil {
		return true, err
	}
	return true, serve(c.serve(kind[2] == "true"), size)
}

// serve serves s on a free port, which is the first line of its standard
// output, and obeys the commands on standard input, one a line:
//
//	burst N      publish the next N events at once; no answer
//	rate N EACH  publish the next N events, one every EACH nanoseconds; answers
//	             the times before each Publish, in nanoseconds of the wall clock
//	cursor       answers the Last-Event-ID of a client that has seen one event
//	usage        answers the CPU time this process has used, in nanoseconds
//	rss          answers the resident memory after a collection, in bytes
func serve(s server, size int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		// A plain http.Server for everybody: the library is what is measured.
		if err := http.Serve(l, s.handler); !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	stdin, err := openStdin()
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	p := &publisher{server: s, size: size}
	for in := bufio.NewReader(stdin); ; {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := p.obey(strings.Fields(line))
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
		}
		if answer != "" {
			fmt.Println(answer)
		}
	}
}

// publisher publishes numbered events. Only one goroutine uses it.
type publisher struct {
	server
	size int // bytes of data in an event
	next int // number of the next event
}

func (p *publisher) obey(command []string) (answer string, err error) {
	if len(command) == 0 {
		return "", nil
	}
	args := make([]int, max(2, len(command)-1))
	for i, a := range command[1:] {
		if args[i], err = strconv.Atoi(a); err != nil {
			return "", err
		}
	}
	switch command[0] {
	case "burst":
		return "", p.publish(p.events(args[0]))
	case "rate":
		return p.rate(args[0], time.Duration(args[1]))
	case "cursor":
		return p.cursor(), nil
	case "usage":
		used, err := cpuTime()
		return strconv.FormatInt(int64(used), 10), err
	case "rss":
		debug.FreeOSMemory() // collects first
		rss, err := residentMemory()
		return strconv.Itoa(rss), err
	default:
		return "", errors.New("unknown command")
	}
}

func (p *publisher) rate(n int, each time.Duration) (times string, err error) {
	var b strings.Builder
	for tick := time.NewTicker(each); n > 0; n-- {
		<-tick.C
		data := p.events(1)
		fmt.Fprintf(&b, "%d ", time.Now().UnixNano())
		if err := p.publish(data); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// events returns the data of the next n events.
func (p *publisher) events(n int) []string {
	data := make([]string, n)
	for i := range data {
		data[i] = numbered(p.next, p.size)
		p.next++
	}
	return data
}
