package main

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// An engine is a NATS server with JetStream in this process, which can go away
// and come back with all it had.
type engine struct {
	options server.Options
	acting  chan struct{} // start and kill are sent to it: one at a time
	running atomic.Pointer[server.Server]
}

// startEngine starts a server that keeps its data in a folder.
func startEngine(folder string) (*engine, error) {
	e := &engine{acting: make(chan struct{}, 1), options: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: folder, NoSigs: true,
	}}
	if err := e.start(); err != nil {
		return nil, err
	}
	e.options.Port = e.running.Load().Addr().(*net.TCPAddr).Port // stays over a restart
	return e, nil
}

func (e *engine) url() string { return e.running.Load().ClientURL() }

func (e *engine) start() error {
	e.acting <- struct{}{}
	defer func() { <-e.acting }()
	if s := e.running.Load(); s != nil && s.Running() {
		return nil
	}
	options := e.options
	s, err := server.NewServer(&options)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return errors.New("the NATS server does not start")
	}
	e.running.Store(s)
	return nil
}

func (e *engine) kill() {
	e.acting <- struct{}{}
	defer func() { <-e.acting }()
	s := e.running.Load()
	s.Shutdown()
	s.WaitForShutdown()
}

func (e *engine) state() state {
	return state{Name: "engine", Up: e.running.Load().Running()}
}
