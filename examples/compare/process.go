package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A process is a server in a child of this process, so that its CPU time and
// memory are its own. See serve for what it obeys.
type process struct {
	cmd       *exec.Cmd
	in        io.WriteCloser
	out       *bufio.Reader
	addr      string
	published int // events so far
}

// start starts the contestant's server, or the streamer. When ctx ends the
// process is killed.
func start(ctx context.Context, name string, size int, history bool) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%d,%t", childEnv, name, size, history))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if p.addr, err = p.answer(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close ends the process and waits for it.
func (p *process) Close() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // says that it was killed
}

// burst publishes the next n events at once.
func (p *process) burst(n int) error {
	p.published += n
	return p.tell("burst " + strconv.Itoa(n))
}

// usage returns the CPU time that the process has used.
func (p *process) usage() (time.Duration, error) {
	n, err := p.askNumber("usage")
	return time.Duration(n), err
}

// rss returns the resident memory of the process after a collection, in bytes.
func (p *process) rss() (int, error) { return p.askNumber("rss") }

// cursor returns the Last-Event-ID of a client that has seen one event.
func (p *process) cursor() (string, error) {
	if err := p.tell("cursor"); err != nil {
		return "", err
	}
	return p.answer()
}

func (p *process) askNumber(command string) (int, error) {
	if err := p.tell(command); err != nil {
		return 0, err
	}
	answer, err := p.answer()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(answer)
}

func (p *process) tell(command string) error {
	_, err := io.WriteString(p.in, command+"\n")
	return err
}

func (p *process) answer() (string, error) {
	line, err := p.out.ReadString('\n')
	if errors.Is(err, io.EOF) {
		return "", errors.New("the server's process ended")
	}
	return strings.TrimSpace(line), err
}
